"""This module is where a fleet's beats are watched: the state first, then the newest beat of each workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

from dataloaders.registry import heard_of
from models import Workspace
from models.errors import BadRequest
from resolvers.call import Call
from subscriptions.heartbeats import RESEND

MAX_WORKSPACES: Final = 100
MIN_INTERVAL_MILLISECONDS: Final = 100
MAX_INTERVAL_MILLISECONDS: Final = 60_000


def watch_heartbeats(
    call: Call, workspace_ids: frozenset[UUID] | None, min_interval_milliseconds: int
) -> AsyncIterator[Sequence[Any]]:
    """Lists of beats for ever; after a gap the state comes again. Raises BAD_REQUEST for more than 100 ids."""
    if workspace_ids is not None and len(workspace_ids) > MAX_WORKSPACES:
        raise BadRequest(f"Ask for at most {MAX_WORKSPACES} workspaces, or for all.")
    if not MIN_INTERVAL_MILLISECONDS <= min_interval_milliseconds <= MAX_INTERVAL_MILLISECONDS:
        raise BadRequest(f"An interval is {MIN_INTERVAL_MILLISECONDS} to {MAX_INTERVAL_MILLISECONDS} milliseconds.")
    return _beats(call, workspace_ids, min_interval_milliseconds / 1000)


async def _beats(
    call: Call, workspace_ids: frozenset[UUID] | None, interval_seconds: float
) -> AsyncIterator[Sequence[Any]]:
    async with call.services.board.subscribe(call.tenant_id, workspace_ids, interval_seconds) as beats:
        yield await _state(call, workspace_ids)
        async for seen in beats:
            yield await _state(call, workspace_ids) if seen is RESEND else seen


async def _state(call: Call, workspace_ids: frozenset[UUID] | None) -> list[Workspace]:
    found: list[Workspace] = []
    async with call.services.database.session(call.tenant_id) as session:
        while page := await heard_of(session, workspace_ids, found[-1].id if found else None):
            found += page
    return found
