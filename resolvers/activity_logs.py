"""This module is where workspaces tell what they did; it is kept for some days.

Security boundary: a workspace's token tells of its own workspace only, and names only others that it may talk to.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from dataloaders.hierarchy import lines_of
from models import ActivityLog, ActivityStatus, ActivityType
from models.activity_logs import OUTCOMES
from models.errors import invalid, not_found
from models.ids import uuid7
from resolvers.call import Call
from resolvers.discovery import relation_of
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import document, line, prose, within

METHOD_LIMIT: Final = 255
SUMMARY_LIMIT: Final = 4_000
ERROR_LIMIT: Final = 16_000
BODY_LIMIT_BYTES: Final = 65_536
_LONGEST_MILLISECONDS: Final = 2**31 - 1


class Said(TypedDict, total=False):
    """What else a report may say."""

    source_workspace_id: UUID | None
    target_workspace_id: UUID | None
    method: str | None
    summary: str | None
    request_body: Any
    response_body: Any
    duration_milliseconds: int | None
    error_detail: str | None


async def report_activity(
    call: Call,
    *,
    workspace_id: UUID,
    activity_type: ActivityType,
    status: ActivityStatus | None = None,
    **said: Unpack[Said],
) -> ActivityLog:
    """Keep what a workspace did. Raises INVALID, NOT_FOUND. Commits.

    Without a source it began at the canvas. The number of statements depends on nothing that is said.
    """
    if call.who.workspace_id not in (None, workspace_id):
        raise not_found("workspace", "input", "workspaceId")
    outcome = status or (ActivityStatus.PENDING if activity_type is ActivityType.DELEGATION else ActivityStatus.OK)
    if (outcome in OUTCOMES) == (activity_type is ActivityType.DELEGATION):
        raise invalid(
            "Delegations are PENDING to COMPLETED or FAILED, all else OK, ERROR or TIMEOUT.", "input", "status"
        )
    entry = ActivityLog(
        id=uuid7(), workspace_id=workspace_id, activity_type=activity_type, status=outcome, **_cleaned(said)
    )
    async with call.work() as work:
        await _refuse_strangers(work, entry, is_machine=call.who.workspace_id is not None)
        entry.created_at = entry.updated_at = work.now
        work.add(entry)
        await work.session.flush()
        payload = {"type": entry.activity_type.value, "status": entry.status.value}
        work.tell(entry, "activity.logged", None, payload, audited=False)
    return entry


def _cleaned(said: Said) -> dict[str, Any]:
    cleaned: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if "method" in cleaned:
        cleaned["method"] = line(cleaned["method"], METHOD_LIMIT, "method")
    if "summary" in cleaned:
        cleaned["summary"] = prose(cleaned["summary"], SUMMARY_LIMIT, "summary")
    if "error_detail" in cleaned:
        cleaned["error_detail"] = prose(cleaned["error_detail"], ERROR_LIMIT, "errorDetail")
    for name, field in (("request_body", "requestBody"), ("response_body", "responseBody")):
        if name in cleaned:
            cleaned[name] = document(cleaned[name], BODY_LIMIT_BYTES, field)
    if "duration_milliseconds" in cleaned:
        milliseconds = cleaned.pop("duration_milliseconds")
        cleaned["duration_ms"] = within(milliseconds, 0, _LONGEST_MILLISECONDS, "durationMilliseconds")
    return cleaned


async def _refuse_strangers(work: UnitOfWork, entry: ActivityLog, *, is_machine: bool) -> None:
    """Raises NOT_FOUND for the first that is not there, or whom this machine may not talk to; alike."""
    named = {
        "workspaceId": entry.workspace_id,
        "sourceWorkspaceId": entry.source_workspace_id,
        "targetWorkspaceId": entry.target_workspace_id,
    }
    lines = await lines_of(work.session, _given(named.values()))
    own = lines.get(entry.workspace_id, [])
    for field, id in named.items():
        if id is not None and (id not in lines or (is_machine and not relation_of(own, lines[id]).allowed)):
            raise not_found("workspace", "input", field)


def _given(ids: Collection[UUID | None]) -> set[UUID]:
    return {id for id in ids if id is not None}
