"""This module is where the history of the fleet's structure is fetched, in the order in which it was committed."""

from __future__ import annotations

from typing import Final

from dataloaders.pages import Direction, Listing, Order, any_text_of, equals
from models import StructureEvent

structure_events: Final = Listing(
    StructureEvent,
    filters={
        "workspace_id": equals(StructureEvent.workspace_id),
        "agent_id": equals(StructureEvent.agent_id),
        "event_type": any_text_of(StructureEvent.event_type),
    },
    orders={"seq": Order(StructureEvent.seq, is_unique=True)},
    default=("seq", Direction.DESC),
)
