"""This module is where it is fetched what workspaces did."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, or_

from dataloaders.pages import Listing, Order, any_of, equals
from models import ActivityLog, ActivitySource


def _since(moment: datetime) -> ColumnElement[bool]:
    return ActivityLog.created_at >= moment


def _until(moment: datetime) -> ColumnElement[bool]:
    return ActivityLog.created_at < moment


def _from(sources: list[ActivitySource]) -> Any:
    began = {
        ActivitySource.CANVAS: ActivityLog.source_workspace_id.is_(None),
        ActivitySource.AGENT: ActivityLog.source_workspace_id.is_not(None),
    }
    return or_(*(began[one] for one in set(sources))) if sources else None


activity_logs: Final = Listing(
    ActivityLog,
    filters={
        "workspace_id": equals(ActivityLog.workspace_id),
        "activity_type": any_of(ActivityLog.activity_type),
        "status": any_of(ActivityLog.status),
        "source": _from,
        "created_after": _since,
        "created_before": _until,
    },
    orders={"created_at": Order(ActivityLog.created_at)},
)
