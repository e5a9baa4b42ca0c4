"""This module is where the transports say what they need of execution, and nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from resolvers.principal import Principal

OperationKind = Literal["query", "mutation", "subscription"]


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """One operation as a client sent it; its parts have the right JSON types and nothing else is checked."""

    query: str | None
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None


@dataclass(slots=True)
class Outcome:
    """An answer, formatted; ``executed`` is False for a request error (syntax, validation, variables)."""

    payload: dict[str, Any]
    executed: bool = True


class Operations(Protocol):
    """Execution behind the transports. Every call gets a fresh scope of its own."""

    async def authenticate(self, authorization: str | None, headers: Mapping[str, str]) -> Principal | None:
        """None when no credentials are given.

        Raises ``Unauthenticated`` for wrong or dead ones, with ``reason="TOKEN_EXPIRED"`` among its extensions
        when an access token was right until it expired.
        """
        ...

    def kind(self, request: OperationRequest) -> OperationKind | None:
        """None when it cannot be told; ``execute`` then answers with the error."""
        ...

    async def execute(self, request: OperationRequest, principal: Principal | None, request_id: str) -> Outcome: ...

    async def subscribe(
        self, request: OperationRequest, principal: Principal | None, request_id: str
    ) -> Outcome | AsyncIterator[dict[str, Any]]:
        """The items of a subscription, or an outcome when it fails at once.

        The iterator ends with ``StopAsyncIteration``, or by raising a ``RequestError`` that is the stream's last
        word. Transports call its ``aclose`` when it has one.
        """
        ...
