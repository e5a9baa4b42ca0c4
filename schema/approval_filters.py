"""This module is where it stands how requests for approval are listed, wherever they are shown."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import schema.governance  # noqa: F401 - HitlMode is described there, and must be before it is used
from dataloaders.approvals import Assigned, Assignment, approvals
from dataloaders.pages import Direction
from models import ApprovalKind, ApprovalStatus, HitlMode, Priority, Scope, SlaState
from models.ids import NIL
from resolvers.call import Call
from schema.common import connection, own_without
from schema.declare import describe
from schema.inputs import form, optional, required

describe(
    Priority,
    "How soon somebody has to decide.",
    URGENT="Within an hour.",
    HIGH="Within four hours.",
    NORMAL="Within a day.",
    LOW="Within three days.",
)
describe(
    ApprovalStatus,
    "Where a request stands.",
    PENDING="It waits for a person.",
    APPROVED="Somebody allowed it.",
    REJECTED="Somebody refused it.",
    EXPIRED="Nobody decided it in time.",
    CANCELLED="It was withdrawn.",
)
describe(
    ApprovalKind,
    "What approval is asked for.",
    RESPONSE="An answer of an agent; approved, it is said in its conversation.",
    ACTION="Something that an agent wants to do.",
    AGENT="An agent that is to work; approved, it does.",
    CONNECTOR="A connection to another system.",
    ONBOARDING="A step of getting started.",
    POLICY="A change of policies.",
)
describe(
    SlaState,
    "How a request stands to the time that its priority promises.",
    ON_TRACK="There is time.",
    AT_RISK="Less than a quarter of the time is left.",
    BREACHED="The time is over; of what was decided: it was decided too late.",
    MET="It was decided in time.",
)
describe(
    Assignment,
    "Who has a request in hand.",
    name="ApprovalAssignment",
    MINE="The caller.",
    OTHERS="Somebody else.",
    UNASSIGNED="Nobody.",
)


class ApprovalOrderField(StrEnum):
    """What requests can be sorted by."""

    CREATED_AT = "created_at"
    PRIORITY = "priority"
    SLA_DUE_AT = "sla_due_at"


describe(
    ApprovalOrderField,
    "What requests can be sorted by.",
    CREATED_AT="When it was asked.",
    PRIORITY="How soon somebody has to decide; DESC puts the most urgent first.",
    SLA_DUE_AT="Until when somebody has to decide.",
)


@form("Which requests; fields combine with and, lists mean any of.")
class ApprovalFilter:
    """Filter of requests for approval and of their stream."""

    status: list[ApprovalStatus] | None = optional("One of these statuses.")
    hitl_mode: list[HitlMode] | None = optional("One of these modes.")
    priority: list[Priority] | None = optional("One of these priorities.")
    kind: list[ApprovalKind] | None = optional("One of these kinds.")
    agent_id: ID | None = optional("Of this agent.", of="agent")
    user_id: ID | None = optional("Of this person.", of="user")
    department: str | None = optional("Asked in exactly this department.")
    assigned_department: str | None = optional("Given to exactly this department.")
    assignment: list[Assignment] | None = optional("In one of these hands.")
    sla_state: list[SlaState] | None = optional("One of these states.")
    created_after: datetime | None = optional("Asked at this time or later.")
    created_before: datetime | None = optional("Asked before this time.")
    search: str | None = optional(
        "Words of agentName, userDepartment and, in lists, of originalQuery that start so; case does not matter. "
        "Without approval_texts:read one's own only."
    )


@form("How requests are sorted; ties are broken by id.")
class ApprovalOrder:
    """Order of requests for approval."""

    field: ApprovalOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


def prepared(said: dict[str, Any], call: Call) -> dict[str, Any]:
    """What a list takes of a filter: assignments are somebody's, and nobody searches what they may not read."""
    me = call.who.member_id
    if "assignment" in said:
        said = said | {"assignment": Assigned(frozenset(said["assignment"]), me)}
    if "search" in said and not call.allows(Scope.APPROVAL_TEXTS_READ):
        own = me or NIL
        said = said | {"user_id": own if said.get("user_id", own) == own else NIL}
    return said


def is_personal(said: dict[str, Any]) -> bool:
    """Whether two callers with equal scopes may mean different requests by the same filter."""
    return bool({Assignment.MINE, Assignment.OTHERS} & set(said.get("assignment", ()))) or "search" in said


def approvals_of(column_name: str, description: str) -> Any:
    """A field that is the page of requests whose column holds the parent's id."""
    return connection(
        approvals,
        description,
        filter=ApprovalFilter,
        order=ApprovalOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.APPROVALS_READ),
        prepare=prepared,
        of=column_name,
    )
