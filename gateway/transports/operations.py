"""This module is where the transports say what they need of execution, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from models.errors import RequestError
from resolvers.principal import Principal
from subscriptions.fanout import Sink

OperationKind = Literal["query", "mutation", "subscription"]


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """One operation as a client sent it; its parts have the right JSON types and nothing else is checked."""

    query: str | None
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None
    # The SHA-256 of a trusted document in hex, however the client named it.
    document_id: str | None = None
    # Who sent it, for the session that a sign-in begins and for what wrong passwords are counted by.
    address: str | None = None
    user_agent: str | None = None


@dataclass(slots=True)
class Outcome:
    """An answer, formatted; ``executed`` is False for a request error (syntax, validation, variables)."""

    payload: dict[str, Any]
    executed: bool = True


class Subscription(Protocol):
    """A stream of answers to one subscriber."""

    @property
    def cursor(self) -> str | None:
        """Where in the log it ended, so that its subscriber can go on there; None where there is no such place."""
        ...

    def refusal(self, principal: Principal) -> RequestError | None:
        """Why its subscriber, with the rights of ``principal`` from now on, is sent no more of it; None while it is."""
        ...

    async def run(self, sink: Sink) -> None:
        """Hand the items to ``sink`` until the stream ends; cancelled when nobody wants it any more.

        Raises a ``RequestError`` that is the stream's last word, and whatever ``sink.room`` raises.
        """
        ...


class Operations(Protocol):
    """Execution behind the transports. Every call gets a fresh scope of its own."""

    async def authenticate(self, authorization: str | None, headers: Mapping[str, str]) -> Principal | None:
        """None when no credentials are given.

        Raises ``Unauthenticated`` for wrong or dead ones, as ``TokenExpired`` when a fresh token would do.
        """
        ...

    def kind(self, request: OperationRequest, principal: Principal | None) -> OperationKind | None:
        """None when it cannot be told; ``execute`` then answers with the error.

        Raises a ``RequestError`` for a caller for whom not even that is done: THROTTLED.
        """
        ...

    async def execute(self, request: OperationRequest, principal: Principal | None, request_id: str) -> Outcome: ...

    async def subscribe(
        self, request: OperationRequest, principal: Principal | None, request_id: str
    ) -> Outcome | Subscription:
        """A subscription to run, or an outcome when it fails at once."""
        ...
