"""This module is where the person stands who asks simulated agents: they sign in, define agents, and speak."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.simulate.behaviour import Span
from gateway.simulate.public_api import Away, PublicApi, Refused
from gateway.watch.credentials import Credentials, Unreachable, WatchError

MOST_TALKS_AT_ONCE: Final = 8
"""Of one fleet, however large: who talks while so many do waits for their turn."""

_WHO: Final = "{ viewer { user { id } } }"


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkScript:
    """How much a fleet talks. What is said, the seed decides."""

    questions_a_minute: float = 1.0
    """Of each agent, at most: an answer takes its time, and no question comes before it."""
    thinking_seconds: Span = (0.2, 0.8)
    """How long a person types, and an agent thinks."""
    longest_tool_seconds: float = 1.0
    """No use of a tool is waited for longer, whatever is recorded of it."""
    piece_seconds: Span = (0.08, 0.3)
    """Between two pieces of a reply."""
    messages_of_a_conversation: int = 40
    """Then it is archived and another begins."""
    conversations_kept: int = 2
    """Archived ones of one agent; older ones are deleted."""


class Operator:
    """Somebody with the operator's scopes, for a whole fleet. A machine can play the part; it does not type."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        # Two that renew one sign-in at once would each show the other's refresh token a second time.
        self._alone = asyncio.Lock()
        self._is_person: bool | None = None

    async def ask(self, api: PublicApi, document: str, **variables: Any) -> dict[str, Any]:
        """What a query answers. Raises Away, Refused."""
        return await self._with_token(lambda token: api.ask(token, document, **variables))

    async def change(self, api: PublicApi, document: str, field: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """What a mutation answers. Raises Away, Refused."""
        return await self._with_token(lambda token: api.change(token, document, field, said))

    async def is_person(self, api: PublicApi) -> bool:
        """Whether these are a person's credentials: only people type."""
        if self._is_person is None:
            viewer = (await self.ask(api, _WHO))["viewer"]
            self._is_person = bool(viewer and viewer["user"])
        return self._is_person

    async def _with_token(self, do: Callable[[str], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        try:
            return await do(await self._token())
        except Refused as refusal:
            if refusal.code != "UNAUTHENTICATED" or not self._credentials.renewable:
                raise
            return await do(await self._token(fresh=True))

    async def _token(self, *, fresh: bool = False) -> str:
        try:
            async with self._alone:
                return (await self._credentials.authorization(fresh=fresh)).removeprefix("Bearer ")
        except Unreachable as error:
            raise Away("UNREACHABLE", str(error)) from error
        except WatchError as error:
            raise Refused("SIGN_IN_REFUSED", str(error)) from error


@dataclass(frozen=True, slots=True)
class Talking:
    """With whom the agents of a run talk, and how much."""

    operator: Operator
    script: TalkScript = field(default_factory=TalkScript)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_TALKS_AT_ONCE))
