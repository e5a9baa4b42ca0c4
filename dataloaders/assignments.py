"""This module is where assignments are fetched: which agents a workspace had, and where an agent was."""

from __future__ import annotations

from typing import Final

from dataloaders.pages import Listing, Order, any_of, equals
from models import AgentAssignment

assignments: Final = Listing(
    AgentAssignment,
    filters={
        "status": any_of(AgentAssignment.status),
        "workspace_id": equals(AgentAssignment.workspace_id),
        "agent_id": equals(AgentAssignment.agent_id),
    },
    orders={"created_at": Order(AgentAssignment.created_at)},
)
