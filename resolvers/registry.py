"""This module is where the fleet's places are managed: created, moved, registered, told what to do, removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import delete, select, update

from dataloaders.base import by_id
from dataloaders.heartbeats import Beat
from dataloaders.registry import tree_of
from models import (
    Agent,
    AgentAssignment,
    ApiKey,
    AssignmentStatus,
    CanvasLayout,
    EventTopic,
    Workspace,
    WorkspaceCommand,
)
from models import WorkspaceStatus as Status
from models.errors import Refusal, RefusalCode, not_found
from resolvers.agent_cards import agent_card as card_of
from resolvers.call import Call
from resolvers.changing import take_over
from resolvers.hierarchy import lock_structure, parent_with_room, refuse_long_way
from resolvers.plans import refuse_beyond
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, prose, web_address, within

NAME_LIMIT: Final = 255
ROLE_LIMIT: Final = 1000

_TOLD: Final = {
    WorkspaceCommand.PAUSE: ("workspace.paused", "WORKSPACE_PAUSED"),
    WorkspaceCommand.RESUME: ("workspace.resumed", "WORKSPACE_PROVISIONING"),
    WorkspaceCommand.HIBERNATE: ("workspace.hibernated", "WORKSPACE_HIBERNATED"),
    WorkspaceCommand.RESTART: ("workspace.restarted", "WORKSPACE_PROVISIONING"),
}


class WorkspaceChanges(TypedDict, total=False):
    """What an update may say; absent stays, None clears."""

    name: str
    role: str | None
    tier: int
    url: str | None
    agent_card: dict[str, Any] | None
    max_concurrent_tasks: int
    forwarded_to_id: UUID | None


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration answers; ``token`` only the first time."""

    workspace: Workspace
    token: str | None
    lease_epoch: int


async def create_workspace(
    call: Call, *, name: str, role: str | None = None, tier: int | None = None, parent_id: UUID | None = None
) -> Workspace:
    """A new place that waits for its agent. Commits.

    Raises INVALID, NOT_FOUND, and LIMIT_EXCEEDED beyond the plan, 200 children or 32 levels.
    """
    workspace = Workspace(
        name=line(name, NAME_LIMIT, "name"),
        role=prose(role, ROLE_LIMIT, "role") if role is not None else None,
        tier=within(tier, 1, 4, "tier") if tier is not None else 2,
        parent_id=parent_id,
    )
    async with call.work() as work:
        await refuse_beyond(work, "workspaces")
        if parent_id is not None:
            await lock_structure(work)
            await parent_with_room(work, parent_id)
        work.add(workspace)
        await work.session.flush()
        work.tell(workspace, "workspace.created", None, structure="WORKSPACE_AWAITING_AGENT", target_id=parent_id)
    return workspace


async def update_workspace(
    call: Call, *, id: UUID, expected_version: int, **changes: Unpack[WorkspaceChanges]
) -> Workspace:
    """Change what an operator may change. Commits.

    Raises INVALID, NOT_FOUND, CONFLICT; CYCLE and LIMIT_EXCEEDED for a forwarding that never or too late arrives.
    """
    cleaned = _cleaned(changes)
    target = cleaned.get("forwarded_to")
    async with call.work() as work:
        if target is not None:
            await lock_structure(work)
        workspace = await _present(work, id, expected_version)
        if target is not None and target != workspace.forwarded_to:
            await refuse_long_way(work, workspace, target)
        before = workspace.facets()
        changed = take_over(workspace, cleaned)
        if changed:
            structure = "AGENT_CARD_UPDATED" if "agent_card" in changed else None
            work.tell(workspace, "workspace.updated", before, {"changed": changed}, structure=structure)
    return workspace


async def change_workspace_state(
    call: Call, *, id: UUID, command: WorkspaceCommand, expected_version: int | None = None
) -> Workspace:
    """Pause, resume, hibernate or restart. Raises NOT_FOUND, CONFLICT, ILLEGAL_TRANSITION. Commits."""
    kind, structure = _TOLD[command]
    async with call.work() as work:
        workspace = await work.locked(Workspace, id, expected_version=expected_version)
        before = workspace.facets()
        workspace.obey(command, work.now)
        work.tell(workspace, kind, before, structure=structure, topic=EventTopic.STRUCTURE)
    return workspace


async def register_workspace(call: Call, *, id: UUID, url: str | None = None, agent_card: Any = None) -> Registered:
    """Take a runtime in and fence the one before it; the first time, hand out the machine token. Commits.

    A workspace's token registers its own workspace only: any other id is NOT_FOUND, like one that never was.
    """
    if call.who.workspace_id not in (None, id):
        raise not_found("workspace", "input", "id")
    address = web_address(url, "url") if url is not None else None
    card = card_of(agent_card) if agent_card is not None else None
    async with call.work() as work:
        workspace = await work.locked(Workspace, id)
        before = workspace.facets()
        workspace.register(work.now, url=address, agent_card=card)
        has_token = await work.session.scalar(
            select(ApiKey.id)
            .where(ApiKey.tenant_id == work.tenant_id, ApiKey.workspace_id == id, ApiKey.revoked_at.is_(None))
            .limit(1)
        )
        token = None
        if has_token is None:
            _, token = await call.services.accounts.issue_workspace_token(work, workspace, call.who)
        work.tell(
            workspace,
            "workspace.registered",
            before,
            {"lease_epoch": workspace.lease_epoch},
            structure="WORKSPACE_ONLINE",
        )
    return Registered(workspace, token, workspace.lease_epoch)


async def update_agent_card(call: Call, *, workspace_id: UUID, agent_card: Any) -> Workspace:
    """Keep what the agent of a workspace says of itself now. Raises INVALID, NOT_FOUND, ILLEGAL_TRANSITION. Commits.

    A workspace's token speaks for its own workspace only: any other id is NOT_FOUND, like one that never was.
    """
    if call.who.workspace_id not in (None, workspace_id):
        raise not_found("workspace", "input", "workspaceId")
    card = card_of(agent_card)
    async with call.work() as work:
        workspace = await _present(work, workspace_id, None, "workspaceId")
        if workspace.agent_card != card:
            before = workspace.facets()
            workspace.agent_card = card
            changed = {"changed": ["agent_card"]}
            work.tell(workspace, "workspace.updated", before, changed, structure="AGENT_CARD_UPDATED")
    return workspace


async def issue_workspace_token(call: Call, *, id: UUID) -> Registered:
    """A new machine token; the old one dies and the lease rises, so its holder is fenced. Commits."""
    async with call.work() as work:
        workspace = await _present(work, id)
        before = workspace.facets()
        workspace.lease_epoch += 1
        _, token = await call.services.accounts.issue_workspace_token(work, workspace, call.who)
        work.tell(
            workspace,
            "workspace.token_issued",
            before,
            {"lease_epoch": workspace.lease_epoch},
            topic=EventTopic.SECURITY,
        )
    return Registered(workspace, token, workspace.lease_epoch)


async def move_workspace(
    call: Call, *, id: UUID, parent_id: UUID | None = None, expected_version: int | None = None
) -> Workspace:
    """Put a workspace under another parent, or at the root. Commits.

    Raises NOT_FOUND, CONFLICT, CYCLE, and LIMIT_EXCEEDED beyond 200 children or 32 levels.
    """
    async with call.work() as work:
        await lock_structure(work)
        workspace = await _present(work, id, expected_version)
        if parent_id is not None and workspace.parent_id != parent_id:
            await parent_with_room(work, parent_id, below=workspace)
        if workspace.parent_id != parent_id:
            before = workspace.facets()
            workspace.parent_id = parent_id
            work.tell(
                workspace,
                "workspace.moved",
                before,
                structure="WORKSPACE_MOVED",
                topic=EventTopic.STRUCTURE,
                target_id=parent_id,
            )
    return workspace


async def remove_workspace(call: Call, *, id: UUID, include_descendants: bool = False) -> list[Workspace]:
    """End a workspace, its assignments and tokens; with its descendants where asked for. Parents first. Commits.

    Raises NOT_FOUND, and CONFLICT when it has children and ``include_descendants`` is false.
    """
    async with call.work() as work:
        await lock_structure(work)
        workspace = await _present(work, id)
        ids = await tree_of(work.session, id)
        if len(ids) > 1 and not include_descendants:
            raise Refusal(
                RefusalCode.CONFLICT,
                "It has children; say includeDescendants to remove them too.",
                field=("input", "includeDescendants"),
                current=workspace,
            )
        rows = await _all_locked(work, ids)
        for row in rows:
            before = row.facets()
            row.remove()
            work.tell(row, "workspace.removed", before, structure="WORKSPACE_REMOVED", topic=EventTopic.STRUCTURE)
        await _end_of(work, ids)
    return rows


async def _end_of(work: UnitOfWork, ids: list[UUID]) -> None:
    mine = AgentAssignment.tenant_id == work.tenant_id, AgentAssignment.workspace_id.in_(ids)
    await work.session.execute(
        update(AgentAssignment)
        .where(*mine, AgentAssignment.status == AssignmentStatus.ACTIVE)
        .values(status=AssignmentStatus.REMOVED, removed_at=work.now, removal_reason="workspace_removed")
    )
    await work.session.execute(
        update(Agent)
        .where(Agent.tenant_id == work.tenant_id, Agent.workspace_id.in_(ids))
        .values(workspace_id=None, version=Agent.version + 1, updated_at=work.now)
        .execution_options(synchronize_session=False)
    )
    await work.session.execute(
        update(ApiKey)
        .where(ApiKey.tenant_id == work.tenant_id, ApiKey.workspace_id.in_(ids), ApiKey.revoked_at.is_(None))
        .values(revoked_at=work.now)
    )
    await work.session.execute(
        delete(CanvasLayout).where(CanvasLayout.tenant_id == work.tenant_id, CanvasLayout.workspace_id.in_(ids))
    )


async def _all_locked(work: UnitOfWork, ids: list[UUID]) -> list[Workspace]:
    # By id, the order everyone locks in; then parents before children, the order the tree was read in.
    found = await work.session.scalars(
        select(Workspace)
        .where(Workspace.tenant_id == work.tenant_id, Workspace.id.in_(ids))
        .order_by(Workspace.id)
        .with_for_update(key_share=True)
    )
    by_id = {row.id: row for row in found}
    return [by_id[one] for one in ids]


async def _present(work: UnitOfWork, id: UUID, expected_version: int | None = None, field: str = "id") -> Workspace:
    workspace = await work.locked(Workspace, id, "input", field, expected_version=expected_version)
    if workspace.status is Status.REMOVED:
        raise Refusal(
            RefusalCode.ILLEGAL_TRANSITION,
            "A removed workspace cannot be changed.",
            field=("input", field),
            current=workspace,
        )
    return workspace


def _cleaned(changes: WorkspaceChanges) -> dict[str, Any]:
    cleaned: dict[str, Any] = dict(changes)
    if "name" in cleaned:
        cleaned["name"] = line(cleaned["name"] or "", NAME_LIMIT, "name")
    if cleaned.get("role") is not None:
        cleaned["role"] = prose(cleaned["role"], ROLE_LIMIT, "role")
    if "tier" in cleaned:
        cleaned["tier"] = within(cleaned["tier"] or 0, 1, 4, "tier")
    if cleaned.get("url") is not None:
        cleaned["url"] = web_address(cleaned["url"], "url")
    if cleaned.get("agent_card") is not None:
        cleaned["agent_card"] = card_of(cleaned["agent_card"])
    if "max_concurrent_tasks" in cleaned:
        cleaned["max_concurrent_tasks"] = within(cleaned["max_concurrent_tasks"] or 0, 1, 10_000, "maxConcurrentTasks")
    if "forwarded_to_id" in cleaned:
        cleaned["forwarded_to"] = cleaned.pop("forwarded_to_id")
    return cleaned


async def report_heartbeat(call: Call, *, workspace_id: UUID, **said: Any) -> Workspace:
    """Take a beat in with its batch and answer the workspace as it is now. Raises INVALID, NOT_FOUND, FENCED."""
    if call.who.workspace_id not in (None, workspace_id):
        raise not_found("workspace", "input", "workspaceId")
    known = {name: value for name, value in said.items() if value is not None}  # null says as little as absence
    beat = Beat(tenant_id=call.tenant_id, workspace_id=workspace_id, **known)
    await call.services.heartbeats.report(beat)
    workspace: Workspace = await call.load(by_id(Workspace), workspace_id)
    return workspace
