"""This module is where agents are fetched: by workspace and by filter."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ARRAY, Uuid, any_, bindparam, select

from dataloaders.base import grouped
from dataloaders.pages import Listing, Order, any_of, equals, words
from models import Agent

agents: Final = Listing(
    Agent,
    filters={
        "status": any_of(Agent.status),
        "type": any_of(Agent.type),
        "domain": equals(Agent.domain),
        "workspace_id": equals(Agent.workspace_id),
        "search": words(Agent),
    },
    orders={
        "created_at": Order(Agent.created_at),
        "name": Order(Agent.name),
        "updated_at": Order(Agent.updated_at),
    },
    always=lambda _: [Agent.deleted_at.is_(None)],
)

agents_by_workspace: Final = grouped(
    select(Agent)
    .where(
        Agent.tenant_id == bindparam("tenant", type_=Uuid()),
        Agent.workspace_id == any_(bindparam("keys", type_=ARRAY(Uuid))),
        Agent.deleted_at.is_(None),
    )
    .order_by(Agent.name, Agent.id)
    .limit(10_000),
    "workspace_id",
)
"""The agents assigned to each workspace now; the assignments keep it to one."""
