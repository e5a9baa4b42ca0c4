"""This module is where it is seen from outside what workspaces did."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.activity_logs import activity_logs
from dataloaders.pages import Direction
from models import ActivitySource, ActivityStatus, ActivityType, Scope
from resolvers import activity_logs as use_cases
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection
from schema.declare import column, describe, node, root_fields, to_one
from schema.inputs import form, optional, required

if TYPE_CHECKING:
    from schema.registry import Workspace

describe(
    ActivityType,
    "What kind of thing a workspace did.",
    A2A_SEND="It called another agent.",
    A2A_RECEIVE="Another agent called it.",
    TASK_UPDATE="A task of its own went on.",
    AGENT_LOG="It has something to say.",
    ERROR="Something went wrong.",
    SKILL_PROMOTION="It learnt a skill for good.",
    MEMORY_WRITE="It remembered something.",
    DELEGATION="It handed a task on.",
)
describe(
    ActivityStatus,
    "How it went; a delegation says how far it is.",
    OK="Well.",
    ERROR="It failed.",
    TIMEOUT="There was no answer in time.",
    PENDING="A delegation that is not sent yet.",
    DISPATCHED="A delegation that was sent.",
    RECEIVED="A delegation that has arrived.",
    IN_PROGRESS="A delegation that is worked on.",
    COMPLETED="A delegation that is done.",
    FAILED="A delegation that failed.",
)
describe(
    ActivitySource,
    "Where an activity began.",
    CANVAS="With a person, at the canvas.",
    AGENT="With an agent, in another workspace or its own.",
)


class ActivityLogOrderField(StrEnum):
    """What activity logs can be sorted by."""

    CREATED_AT = "created_at"


describe(ActivityLogOrderField, "What activity logs can be sorted by.", CREATED_AT="When it was told.")


@node(
    models.ActivityLog,
    "One thing that a workspace did. Deleted after some days, seven unless the deployment says otherwise.",
    scope=Scope.ACTIVITY_READ,
    own=lambda row, call: call.principal is not None and call.principal.workspace_id == row.workspace_id,
)
class ActivityLog(Node):
    """GraphQL type of models.ActivityLog."""

    workspace: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "Who did it.", "workspace_id"
    )
    activity_type: ActivityType = column("What kind of thing it was.")
    source: ActivitySource = column("Where it began.")
    source_workspace: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "The workspace where it began; null for the canvas.", "source_workspace_id"
    )
    target_workspace: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "The workspace that it was aimed at.", "target_workspace_id"
    )
    method: str | None = column("The method that was called, e.g. message/send, or what was done to a task.")
    summary: str | None = column("What happened, in words.")
    request_body: JSON | None = column("What was asked.")
    response_body: JSON | None = column("What was answered.")
    duration_milliseconds: int | None = column("How long it took.", "duration_ms")
    status: ActivityStatus = column("How it went.")
    error_detail: str | None = column("What went wrong.")
    created_at: datetime = column("When it was told.")


@form("Which activity logs; fields combine with and, lists mean any of.")
class ActivityLogFilter:
    """Filter of activity logs."""

    workspace_id: ID | None = optional("Of this workspace.", of="workspace")
    activity_type: list[ActivityType] | None = optional("Of one of these types.")
    status: list[ActivityStatus] | None = optional("With one of these statuses.")
    source: list[ActivitySource] | None = optional("Begun at the canvas, or by agents.")
    created_after: datetime | None = optional("Told at this time or later.")
    created_before: datetime | None = optional("Told before this time.")


@form("How activity logs are sorted; ties are broken by id.")
class ActivityLogOrder:
    """Order of activity logs."""

    field: ActivityLogOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("What a workspace did.")
class ReportActivityInput:
    """Input of reportActivity."""

    workspace_id: ID = required("Who did it; a workspace's token tells of its own.", of="workspace")
    activity_type: ActivityType = required("What kind of thing it was.")
    status: ActivityStatus | None = optional("OK when absent; PENDING for a delegation.")
    source_workspace_id: ID | None = optional(
        "The workspace where it began; it began at the canvas when absent.", of="workspace"
    )
    target_workspace_id: ID | None = optional("The workspace that it was aimed at.", of="workspace")
    method: str | None = optional("The method that was called; one line of at most 255 characters.")
    summary: str | None = optional("What happened, at most 4,000 characters.")
    request_body: JSON | None = optional("What was asked: a JSON object of at most 64 KiB.")
    response_body: JSON | None = optional("What was answered: a JSON object of at most 64 KiB.")
    duration_milliseconds: int | None = optional("How long it took.")
    error_detail: str | None = optional("What went wrong, at most 16,000 characters.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@payload("An activity log after it was told.")
class ActivityLogPayload:
    """Payload of reportActivity."""

    activity_log: ActivityLog | None = column("What is kept of it.")
    user_errors: list[UserError] = user_errors()


def activity_of(description: str) -> Any:
    """A field that is the page of activity logs of the parent row, a workspace."""
    return connection(
        activity_logs,
        description,
        filter=ActivityLogFilter,
        order=ActivityLogOrder,
        narrow=lambda row, _: {"workspace_id": row.id},
    )


@root_fields
class ActivityLogQueries:
    """Root fields over what workspaces did."""

    activity_logs: Connection[ActivityLog] | None = connection(
        activity_logs, "What the tenant's workspaces did.", filter=ActivityLogFilter, order=ActivityLogOrder
    )


@root_fields
class ActivityLogMutations:
    """What can be told."""

    report_activity: ActivityLogPayload | None = command(
        use_cases.report_activity,
        "Keeps what a workspace did, for some days; activityFeed tells of it as activity.logged.",
        input=ReportActivityInput,
        payload=ActivityLogPayload,
        scope=Scope.ACTIVITY_WRITE,
    )
