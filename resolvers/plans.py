"""This module is where a tenant is kept to what its plan allows.

Counted under the tenant's row lock, so that many who ask at once get no more than there is room for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from sqlalchemy import Select, func, select

from models import Agent, Tenant, Workspace, WorkspaceStatus, tenant_limits
from models.errors import Refusal, RefusalCode
from resolvers.unit_of_work import UnitOfWork

Counted = Literal["agents", "workspaces"]

_COUNTED: Final[Mapping[Counted, Select[Any]]] = {
    "agents": select(Agent.id).where(Agent.deleted_at.is_(None)),
    "workspaces": select(Workspace.id).where(Workspace.status != WorkspaceStatus.REMOVED),
}
_OWNERS: Final = {"agents": Agent.tenant_id, "workspaces": Workspace.tenant_id}


async def refuse_beyond(work: UnitOfWork, what: Counted, adding: int = 1) -> None:
    """Refuse when the tenant may not have ``adding`` more. Raises LIMIT_EXCEEDED.

    Call it before anything else is locked: who adds, and whoever changes the tenant, waits until COMMIT.
    """
    tenant = (await work.session.scalars(select(Tenant).where(Tenant.id == work.tenant_id))).one()
    if getattr(tenant_limits(tenant), what) is None:
        return
    locked = select(Tenant).where(Tenant.id == work.tenant_id).with_for_update(key_share=True)
    tenant = (await work.session.scalars(locked.execution_options(populate_existing=True))).one()
    limit: int | None = getattr(tenant_limits(tenant), what)
    if limit is None:
        return
    some = _COUNTED[what].where(_OWNERS[what] == work.tenant_id).limit(limit)
    count = await work.session.scalar(select(func.count()).select_from(some.subquery())) or 0
    if count + adding > limit:
        there = "as many" if count >= limit else f"{count:,}"
        raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"The plan allows {limit:,} {what}, and there are {there}.")
