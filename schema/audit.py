"""This module is where the audit and the access log are seen from outside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import models
from dataloaders.audit import audit_logs, data_access_logs
from dataloaders.pages import Direction
from models import AccessType, DataCategory, LegalBasis, RetentionSubject, Scope
from resolvers import log_retention as use_cases
from resolvers.audit_reading import contents_of, origin_of
from resolvers.call import Call
from schema.activity import Actor, actor_of
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection
from schema.declare import Nodes, column, computed, describe, node, part, root_fields
from schema.inputs import any_id, form, optional, required

describe(
    DataCategory,
    "What kind of data somebody looked at.",
    ACCOUNT="A person's account and what belongs to it.",
    TENANT="Anything of the tenant.",
    SECRET="A secret's value.",  # noqa: S106 - a category, not a secret
    MESSAGES="Messages of others.",
    APPROVALS="Requests for approval of others.",
)
describe(
    AccessType,
    "What was done with it.",
    READ="It was shown.",
    EXPORT="It was handed over.",
    ERASURE="It was erased.",
    USE="It was used without being shown.",
    PLATFORM_ACCESS="A platform administrator entered the tenant.",
)
describe(
    LegalBasis,
    "The ground on which it was done.",
    CONSENT="The person agreed.",
    CONTRACT="It was needed to do what was agreed.",
    LEGAL_OBLIGATION="The law asks for it.",
    LEGITIMATE_INTEREST="Running and securing the service.",
)
describe(
    RetentionSubject,
    "What can be kept longer than everybody keeps it.",
    AUDIT_LOGS="The audit log; everybody keeps it for three years.",
)


class AuditLogOrderField(StrEnum):
    """What the audit log can be sorted by."""

    OCCURRED_AT = "occurred_at"


class DataAccessLogOrderField(StrEnum):
    """What the access log can be sorted by."""

    OCCURRED_AT = "occurred_at"


describe(AuditLogOrderField, "What the audit log can be sorted by.", OCCURRED_AT="When it was written; its own order.")
describe(DataAccessLogOrderField, "What the access log can be sorted by.", OCCURRED_AT="When it was written.")


def _part(read: Callable[[Any, Call], Any], name: str, description: str) -> Any:
    async def resolve(row: Any, call: Call) -> Any:
        return (await read(row, call)).get(name)

    return computed(resolve, description, shared=True)


async def _resource(row: models.AuditLog, call: Call) -> Any:
    kind = Nodes.by_prefix.get(row.resource_type)
    if kind is None or (kind.own is None and not call.allows(kind.scope)):
        return None
    found = await call.load(kind.batch, row.resource_id)
    return found if found is not None and await kind.visible(found, call) else None


@node(
    models.AuditLog,
    "One change: who did what to what, and what it was before and after. Entries are chained; none is ever changed. "
    "What was sealed for a person who has been erased reads null.",
    scope=Scope.AUDIT_READ,
)
class AuditLog(Node):
    """GraphQL type of models.AuditLog."""

    sequence: int = column("Its number in the tenant's log, counted from 1 without gaps.", "seq")
    occurred_at: datetime = column("When it was committed.")
    actor: Actor | None = computed(
        actor_of, "Who did it; null for the gateway itself, and for whom the caller may not see.", shared=True
    )
    action: str = column("What was done, noun.verb.")
    resource: Node | None = computed(_resource, "What was changed, as it is now; null when it is gone.", shared=True)
    resource_id: ID = column("What was changed, also when it is gone.", "resource_typeid")
    details: JSON | None = column("Ids, enum values, numbers and names of changed fields.", "said")
    old_values: JSON | None = _part(contents_of, "old", "What changed, as it was before; secrets redacted.")
    new_values: JSON | None = _part(contents_of, "new", "What changed, as it was after; secrets redacted.")
    address: str | None = _part(origin_of, "address", "Where the request came from.")
    user_agent: str | None = _part(origin_of, "agent", "What sent the request, in its own words.")
    trace_id: str | None = column("The id of the request.")


@form("Which entries; fields combine with and, lists mean any of.")
class AuditLogFilter:
    """Filter of the audit log."""

    actor_id: ID | None = optional("Done by this user, key or workspace.", of=any_id)
    subject_id: ID | None = optional("About this person.", of="user")
    action: list[str] | None = optional("One of these actions, each matched whole.")
    resource_type: list[str] | None = optional("Of one of these kinds, the prefixes of their ids, e.g. user.")
    resource_id: ID | None = optional("Of this thing.", of=any_id)
    occurred_after: datetime | None = optional("Not before this time.")
    occurred_before: datetime | None = optional("Before this time.")


@form("How the audit log is sorted.")
class AuditLogOrder:
    """Order of the audit log."""

    field: AuditLogOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@node(
    models.DataAccessLog,
    "One look at somebody's data, or one use of it: export, erasure, platform access, use of a secret.",
    scope=Scope.AUDIT_READ,
)
class DataAccessLog(Node):
    """GraphQL type of models.DataAccessLog."""

    occurred_at: datetime = column("When it was.")
    actor: Actor | None = computed(
        actor_of, "Who it was; null for the gateway itself, and for whom the caller may not see.", shared=True
    )
    subject_id: ID = column("Whom or what the data is about.", "subject_typeid")
    data_category: DataCategory = column("What kind of data it was.")
    access_type: AccessType = column("What was done with it.")
    purpose: str = column("What for.")
    legal_basis: LegalBasis = column("On what ground.")
    address: str | None = _part(origin_of, "address", "Where the request came from.")
    user_agent: str | None = _part(origin_of, "agent", "What sent the request, in its own words.")
    trace_id: str | None = column("The id of the request.")


@form("Which accesses; fields combine with and, lists mean any of.")
class DataAccessLogFilter:
    """Filter of the access log."""

    actor_id: ID | None = optional("By this user, key or workspace.", of=any_id)
    subject_id: ID | None = optional("To data about this person or thing.", of=any_id)
    data_category: list[DataCategory] | None = optional("To one of these kinds of data.")
    access_type: list[AccessType] | None = optional("In one of these ways.")
    occurred_after: datetime | None = optional("Not before this time.")
    occurred_before: datetime | None = optional("Before this time.")


@form("How the access log is sorted.")
class DataAccessLogOrder:
    """Order of the access log."""

    field: DataAccessLogOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@part("How long something is kept.")
class RetentionRule:
    """GraphQL type of models.RetentionRule."""

    subject: RetentionSubject = column("What is kept.")
    days: int = column("For how many days at the least.")
    updated_at: datetime | None = column("When the tenant said so; null for what everybody has.")


@form("How long something is kept.")
class SetRetentionInput:
    """Input of setRetention."""

    subject: RetentionSubject = required("What is kept.")
    days: int = required("For how many days; 1096, which is three years, at the least.")


@payload("A rule after a change.")
class RetentionPayload:
    """Payload of setRetention."""

    retention_rule: RetentionRule | None = column("The rule as it is now.")
    user_errors: list[UserError] = user_errors()


async def _rules(_: Any, call: Call) -> Any:
    return await use_cases.retention_rules(call)


@root_fields
class AuditQueries:
    """Root fields over the logs."""

    audit_logs: Connection[AuditLog] | None = connection(
        audit_logs, "Who changed what, newest first.", filter=AuditLogFilter, order=AuditLogOrder
    )
    data_access_logs: Connection[DataAccessLog] | None = connection(
        data_access_logs,
        "Who looked at whose data, newest first.",
        filter=DataAccessLogFilter,
        order=DataAccessLogOrder,
    )
    retention_rules: list[RetentionRule] | None = computed(
        _rules, "How long the tenant's logs are kept.", scope=Scope.AUDIT_READ
    )


@root_fields
class AuditMutations:
    """What can be done about the logs."""

    set_retention: RetentionPayload | None = command(
        use_cases.set_retention,
        "Keeps a log longer than everybody does.",
        input=SetRetentionInput,
        payload=RetentionPayload,
        scope=Scope.RETENTION_WRITE,
    )
