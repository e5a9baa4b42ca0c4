"""This module is where what was asked and answered is fetched."""

from __future__ import annotations

from typing import Final

from dataloaders.pages import Direction, Listing, Order, any_of, equals
from models import QueryEvent

query_events: Final = Listing(
    QueryEvent,
    filters={
        "user_id": equals(QueryEvent.user_id),
        "agent_id": equals(QueryEvent.agent_id),
        "conversation_id": equals(QueryEvent.conversation_id),
        "department": equals(QueryEvent.department),
        "hitl_mode": any_of(QueryEvent.hitl_mode),
        "occurred_after": lambda moment: QueryEvent.occurred_at >= moment,
        "occurred_before": lambda moment: QueryEvent.occurred_at < moment,
    },
    orders={"occurred_at": Order(QueryEvent.occurred_at)},
    default=("occurred_at", Direction.DESC),
)
