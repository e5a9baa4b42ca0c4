"""This module is where the demo's tenants get their workspaces, one in every status there is."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import select

from dataloaders.heartbeats import Beat
from gateway.demo.samples import PlaceSample, TenantSample
from gateway.demo.together import SharingCall
from models import EventTopic, RuntimeState, Workspace, WorkspaceCommand
from models import WorkspaceStatus as Status
from models.registry import LIVE
from resolvers.call import Services
from resolvers.heartbeats import BeatAnswer
from resolvers.registry import (
    change_workspace_state,
    create_workspace,
    register_workspace,
    remove_workspace,
    update_workspace,
)
from resolvers.status_changes import change_status

_A_DAY_SECONDS: Final = 86_400
"""Nobody beats for the demo's own workspaces but each start of the gateway, so they may be silent for a day."""
_COMMANDS: Final = {
    Status.PAUSED: WorkspaceCommand.PAUSE,
    Status.HIBERNATED: WorkspaceCommand.HIBERNATE,
    Status.PROVISIONING: WorkspaceCommand.RESTART,
}
_AWAKE: Final = sorted(LIVE | {Status.OFFLINE})
_log = structlog.get_logger(__name__)


async def build(call: SharingCall, sample: TenantSample, rng: Random) -> dict[str, UUID]:
    """Make the workspaces and lead each to its status; ids by key. DEGRADED ones are online until they beat."""
    made: dict[str, Workspace] = {}
    for one in sample.places:
        made[one.key] = await _make(call, one, made)
    for one in sample.places:
        if one.forwarded_to is not None:
            workspace = made[one.key]
            target = made[one.forwarded_to].id
            await update_workspace(call, id=workspace.id, expected_version=workspace.version, forwarded_to_id=target)
    for one in sample.places:
        await _lead(call, made[one.key], one, rng)
    return {key: workspace.id for key, workspace in made.items()}


async def is_built(services: Services, tenant_id: UUID, sample: TenantSample) -> bool:
    """Whether an earlier start made the tenant's workspaces."""
    async with services.database.session(tenant_id) as session:
        found = await session.scalar(
            select(Workspace.id).where(Workspace.tenant_id == tenant_id, Workspace.source_ref == _ref(sample.places[0]))
        )
    return found is not None


async def wake(services: Services, tenant_id: UUID, sample: TenantSample, rng: Random) -> None:
    """One beat for each workspace of the sample that lives: what tells good from degraded is what they say."""
    living = {_ref(one): one for one in sample.places if one.status in LIVE}
    async with services.database.session(tenant_id) as session:
        rows = await session.execute(
            select(Workspace.source_ref, Workspace.id).where(
                Workspace.tenant_id == tenant_id,
                Workspace.source_ref.in_(living),
                Workspace.status.in_(_AWAKE),
            )
        )
        ids = {row.source_ref: row.id for row in rows}
    beats = [_beat(tenant_id, ids[ref], one, rng) for ref, one in living.items() if ref in ids]
    outcomes = await services.heartbeats.report_many(beats)
    lost = sum(not isinstance(outcome, BeatAnswer) for outcome in outcomes)
    if lost:
        _log.warning("demo.beats_lost", tenant=sample.slug, beats=lost)


async def _make(call: SharingCall, sample: PlaceSample, made: dict[str, Workspace]) -> Workspace:
    workspace = await create_workspace(
        call,
        name=sample.name,
        role=sample.role,
        tier=sample.tier,
        parent_id=made[sample.parent].id if sample.parent else None,
    )
    workspace.source_ref = _ref(sample)
    if sample.status in LIVE:
        workspace.heartbeat_ttl_seconds = _A_DAY_SECONDS
    await call.shared.session.flush()
    return workspace


async def _lead(call: SharingCall, workspace: Workspace, sample: PlaceSample, rng: Random) -> None:
    if sample.status is Status.AWAITING_AGENT:
        return
    if sample.status is Status.FAILED:
        _fail(call, workspace)
        return
    await register_workspace(
        call,
        id=workspace.id,
        url=f"https://{sample.key}.agents.example",
        agent_card={"name": sample.name, "version": "1.1.0", "capabilities": {"streaming": True}},
    )
    if sample.status in _COMMANDS:
        await change_workspace_state(call, id=workspace.id, command=_COMMANDS[sample.status])
    elif sample.status is Status.REMOVED:
        await remove_workspace(call, id=workspace.id)
    elif sample.status is Status.OFFLINE:
        await _fall_silent(call, workspace, rng)


def _fail(call: SharingCall, workspace: Workspace) -> None:
    before = workspace.facets()
    workspace.status = Status.FAILED
    call.shared.tell(
        workspace, "workspace.failed", before, structure="WORKSPACE_PROVISION_FAILED", topic=EventTopic.STRUCTURE
    )


async def _fall_silent(call: SharingCall, workspace: Workspace, rng: Random) -> None:
    """What only time does otherwise: it was heard of some minutes ago, and taken offline since."""
    silent_since = call.shared.now - timedelta(minutes=rng.randint(10, 50))
    workspace.last_heartbeat_at = silent_since
    workspace.heartbeat_due_at = silent_since + timedelta(seconds=workspace.heartbeat_ttl_seconds)
    workspace.uptime_seconds = rng.randint(3_600, 360_000)
    await call.shared.session.flush()
    await change_status(call.shared, [workspace], Status.OFFLINE)


def _beat(tenant_id: UUID, workspace_id: UUID, sample: PlaceSample, rng: Random) -> Beat:
    return Beat(
        tenant_id=tenant_id,
        workspace_id=workspace_id,
        runtime_state=RuntimeState.WEDGED if sample.is_wedged else RuntimeState.NORMAL,
        error_rate=sample.error_rate,
        active_tasks=rng.randint(1, 4) if sample.task else 0,
        uptime_seconds=rng.randint(3_600, 360_000),
        current_task=sample.task,
        sample_error=sample.error,
    )


def _ref(sample: PlaceSample) -> str:
    return f"demo.workspaces:{sample.key}"
