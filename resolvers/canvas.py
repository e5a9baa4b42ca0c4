"""This module is where things are put on the canvas, and where each person's view of it is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypedDict
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from dataloaders.canvas import folded_among, is_person, keep_layouts, viewport_of
from models import CanvasLayout, CanvasViewport, EventTopic, Scope, Tenant, Workspace, WorkspaceStatus
from models.errors import invalid, not_found
from models.ids import encode, uuid7
from resolvers.call import Call
from resolvers.unit_of_work import UnitOfWork
from subscriptions.log import Envelope

MOST_LAYOUTS: Final = 100
FARTHEST: Final = 10_000_000.0
"""No coordinate is larger, in either direction."""
ZOOMS: Final = (0.01, 100.0)


class Layout(TypedDict, total=False):
    """Where one workspace is put."""

    workspace_id: UUID
    x: float
    y: float
    collapsed: bool


async def set_canvas_layouts(call: Call, *, layouts: Sequence[Layout]) -> list[CanvasLayout]:
    """Put up to 100 workspaces where they are drawn, all or none; in their order. Commits.

    Raises INVALID, and NOT_FOUND naming the first workspace that is not there. What is folded away stays so unless
    ``collapsed`` is said. The number of statements does not grow with that of workspaces, and what was moved is one
    event, so that a drag of a hundred is not a hundred; what was folded or unfolded is one each, and kept for ever.
    """
    if not 1 <= len(layouts) <= MOST_LAYOUTS:
        raise invalid(f"1 to {MOST_LAYOUTS} workspaces are put at once.", "input", "layouts")
    for number, one in enumerate(layouts):
        _refuse_far(one["x"], "input", "layouts", str(number), "x")
        _refuse_far(one["y"], "input", "layouts", str(number), "y")
    ids = [one["workspace_id"] for one in layouts]
    async with call.work() as work:
        await _refuse_absent(work, ids)
        if len(set(ids)) < len(ids):
            raise invalid("A workspace is put in one place at a time.", "input", "layouts")
        folded = await folded_among(work.session, ids)
        rows = [
            {"collapsed": one["workspace_id"] in folded, **one, "updated_at": work.now}
            for one in sorted(layouts, key=lambda one: one["workspace_id"])
        ]
        kept = {row.workspace_id: row for row in await keep_layouts(work.session, rows)}
        await _tell_of_folding(work, {id for id, row in kept.items() if row.collapsed}, folded)
        _record(work, ids)
    return [kept[id] for id in ids]


async def set_canvas_viewport(call: Call, *, x: float, y: float, zoom: float) -> CanvasViewport:
    """Keep what the caller looks at. Raises INVALID, and NOT_FOUND for a machine, which looks at nothing. Commits.

    Nobody is told: it is nobody else's.
    """
    _refuse_far(x, "input", "x")
    _refuse_far(y, "input", "y")
    if not ZOOMS[0] <= zoom <= ZOOMS[1]:
        raise invalid(f"This is a number from {ZOOMS[0]} to {ZOOMS[1]:.0f}.", "input", "zoom")
    person = call.who.member_id
    async with call.services.database.session(call.tenant_id) as session:
        if person is None or not await is_person(session, person):
            raise not_found("person")
        said = {"x": x, "y": y, "zoom": zoom, "saved_at": call.services.clock()}
        put = insert(CanvasViewport).values(tenant_id=call.tenant_id, id=uuid7(), user_id=person, **said)
        statement = put.on_conflict_do_update(
            index_elements=["tenant_id", "user_id"], set_={**said, "updated_at": func.now()}
        )
        viewport = (
            await session.scalars(statement.returning(CanvasViewport), execution_options={"populate_existing": True})
        ).one()
        await session.commit()
    return viewport


async def canvas_viewport(call: Call) -> CanvasViewport | None:
    """What the caller last looked at; None when that is nothing, and for a machine."""
    person = call.who.member_id
    if person is None:
        return None
    async with call.services.database.session(call.tenant_id) as session:
        return await viewport_of(session, person)


def _refuse_far(value: float, *field: str) -> None:
    if not math.isfinite(value) or abs(value) > FARTHEST:
        raise invalid(f"This is a number from {-FARTHEST:.0f} to {FARTHEST:.0f}.", *field)


async def _refuse_absent(work: UnitOfWork, ids: Sequence[UUID]) -> None:
    # By id, the order everyone locks in; what is there stays until COMMIT.
    found = await work.session.scalars(
        select(Workspace.id)
        .where(
            Workspace.tenant_id == work.tenant_id,
            Workspace.id == func.any(list(ids)),
            Workspace.status != WorkspaceStatus.REMOVED,
        )
        .order_by(Workspace.id)
        .with_for_update(read=True, key_share=True)
    )
    present = set(found)
    for number, id in enumerate(ids):
        if id not in present:
            raise not_found("workspace", "input", "layouts", str(number), "workspaceId")


async def _tell_of_folding(work: UnitOfWork, now: set[UUID], before: set[UUID]) -> None:
    """Tell of each workspace whose parts were folded away or shown again; that is part of the structure's history."""
    changed = before ^ now
    if not changed:
        return
    rows = await work.session.scalars(
        select(Workspace)
        .where(Workspace.tenant_id == work.tenant_id, Workspace.id == func.any(list(changed)))
        .order_by(Workspace.id)
    )
    for row in rows:
        done = "expanded" if row.id in before else "collapsed"
        work.tell(
            row,
            f"workspace.{done}",
            row.facets(),
            topic=EventTopic.STRUCTURE,
            structure=f"WORKSPACE_{done.upper()}",
            audited=False,
        )


def _record(work: UnitOfWork, ids: Sequence[UUID]) -> None:
    work.record(
        Envelope(
            topic=EventTopic.CANVAS,
            kind="canvas.arranged",
            entity_type=Tenant.__typeid__,
            entity_id=work.tenant_id,
            required_scope=Scope.WORKSPACES_READ,
            before=None,
            after=None,
            payload={"workspaces": [encode(Workspace.__typeid__, id) for id in ids]},
            audited=False,
        )
    )
