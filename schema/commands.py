"""This module is where a use case becomes a mutation: input in, payload with object and userErrors out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from strawberry import ID
from strawberry.types.base import get_object_definition

from models import Scope
from models.errors import Refusal, RefusalCode
from models.ids import decode
from resolvers.call import Call
from resolvers.idempotency import Claim, Replay
from schema.common import UserError
from schema.declare import Argument, Nodes, column, computed, part
from schema.inputs import given, secrets_of

UseCase = Callable[..., Awaitable[Any]]


def payload(description: str) -> Callable[[type], Any]:
    """Make a class a mutation's payload; its first field holds the changed object."""
    return part(description)


def user_errors() -> Any:
    """The field every payload ends with."""
    return column("Why nothing was changed; empty when it was.")


@payload("What was deleted.")
class DeletePayload:
    """Payload of mutations that delete."""

    deleted_id: ID | None = column("The id of what is gone; null when nothing was deleted.")
    user_errors: list[UserError] = user_errors()


@dataclass(frozen=True, slots=True)
class Reason:
    """What a user error is read from; the refusal itself is an exception, which the executor would raise."""

    code: RefusalCode
    message: str
    field: list[str] | None

    @classmethod
    def of(cls, refusal: Refusal) -> Reason:
        """The refusal's words."""
        return cls(refusal.code, refusal.message, list(refusal.field) if refusal.field else None)


class Answer:
    """What a payload's fields are read from: the use case's result, or what was refused."""

    def __init__(self, fields: list[str], result: Any, refusals: list[Refusal]) -> None:
        self.user_errors = [Reason.of(one) for one in refusals]
        self.principal = getattr(result, "principal", None)
        for name in fields:
            single = len(fields) == 1
            setattr(self, name, result if single or result is None else getattr(result, name, None))


def command(
    use_case: UseCase,
    description: str,
    *,
    input: type,
    payload: type,
    scope: Scope,
    keep_null: bool = False,
    cost: int = 10,
    guarded: bool = False,
) -> Any:
    """A mutation that runs ``use_case(call, **input)``; ``keep_null`` for updates, where null clears.

    ``guarded`` where it tries a secret: once an operation, and counted against the caller's network.
    """
    fields = [one.python_name for one in get_object_definition(payload, strict=True).fields]
    fields.remove("user_errors")
    secret = secrets_of(input)

    async def run(_: Any, call: Call, input: Any) -> Answer:
        said = given(input, keep_null=keep_null)
        # An operation's mutations run one after the other, each under its own key and with nothing loaded yet.
        mine = call.fresh()
        try:
            key = said.pop("idempotency_key", None)
            if key is not None:
                # A plain hash of a password could be guessed offline, without argon2; the rest tells bodies apart.
                body = {name: value for name, value in said.items() if name != "password" and name not in secret}
                mine.claim = Claim.of(call.who.key, use_case.__name__, key, body)
            return Answer(fields, await use_case(mine, **said), [])
        except Replay as replay:
            return _replayed(fields, await _again(mine, replay))
        except Refusal as refusal:
            return _refused(fields, refusal)

    arguments = [Argument("input", input, "What to do.")]
    return computed(run, description, arguments, scope=scope, cost=cost, guarded=guarded)


def _refused(fields: list[str], refusal: Refusal) -> Answer:
    answer = Answer(fields, None, [refusal])
    if fields == ["removed"]:
        # A list of what was done has no place for what stands as it was.
        answer.removed = []  # type: ignore[attr-defined]
    elif refusal.current is not None and fields != ["deleted_id"]:
        setattr(answer, fields[0], refusal.current)
    return answer


def _replayed(fields: list[str], row: Any) -> Answer:
    """The object again; whatever else was said with it the first time, such as a secret, is not said again."""
    answer = Answer(fields, None, [])
    setattr(answer, fields[0], row)
    return answer


async def _again(call: Call, replay: Replay) -> Any:
    prefix, row_id = decode(replay.ids[0])
    kind = Nodes.by_prefix[prefix]
    row = await call.load(kind.batch, row_id)
    if row is not None and await kind.visible(row, call):
        return row
    call.require(kind.scope)
    return None


__all__ = ["Answer", "DeletePayload", "UserError", "command", "payload", "user_errors"]
