"""This module is where tenants are seen from outside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import models
from dataloaders.agents import agents
from dataloaders.base import by_id
from dataloaders.pages import Direction
from dataloaders.registry import workspaces
from dataloaders.tenants import tenants
from dataloaders.users import users
from models import Scope, TenantPlan, TenantStatus
from models.errors import Forbidden
from models.ids import parse
from resolvers import tenant_export as export
from resolvers import tenants as use_cases
from resolvers.call import Call
from schema.agents import Agent, AgentFilter, AgentOrder
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection
from schema.declare import Argument, column, computed, describe, node, part, root_fields
from schema.inputs import form, optional, required
from schema.registry import Workspace, WorkspaceFilter, WorkspaceOrder
from schema.users import User, UserFilter, UserOrder

describe(
    TenantPlan, "What a tenant pays for.", FREE="Nothing.", PRO="The usual.", ENTERPRISE="The whole, with support."
)
describe(
    TenantStatus,
    "Whether a tenant is served.",
    ACTIVE="It is.",
    SUSPENDED="Not for now; its requests are refused.",
    CANCELLED="Not any more; after a while it is deleted, with all that it has.",
)


class TenantOrderField(StrEnum):
    """What tenants can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"


describe(
    TenantOrderField,
    "What tenants can be sorted by.",
    CREATED_AT="When it was created.",
    NAME="What people call it; capitals come first.",
)


def _of_caller(row: models.Tenant, call: Call) -> dict[str, Any]:
    # Lists are read under the caller's tenant; another tenant's row must not show the caller's lists as its own.
    if row.id != call.tenant_id:
        raise Forbidden("Name the tenant in X-Signalbox-Tenant to read inside it.")
    return {}


@part("How much a tenant may have at once, and ask for in a minute; null is no limit.")
class TenantLimits:
    """What plan and own limits allow together."""

    agents: int | None = column("Agents that are not deleted.")
    workspaces: int | None = column("Workspaces that are not removed.")
    subscriptions: int | None = column("Streams at once, over any transport.")
    requests_per_minute: int | None = column("Requests a minute; a costly one counts for several.")


@node(models.Tenant, "A customer.", scope=Scope.TENANTS_READ)
class Tenant(Node):
    """GraphQL type of models.Tenant."""

    name: str = column("What people call it.")
    slug: str = column("Its name in addresses and at sign-in.")
    contact_email: str | None = column("Whom to write to.", scope=Scope.TENANTS_WRITE)
    plan: TenantPlan = column("What it pays for.")
    status: TenantStatus = column("Whether it is served.")
    settings: JSON | None = column("What its administrators set.", scope=Scope.TENANTS_WRITE)
    limits: JSON | None = column("What the platform allows it beside its plan.", scope=Scope.TENANTS_WRITE)
    effective_limits: TenantLimits | None = computed(
        lambda row, _: models.tenant_limits(row),
        "What its plan and its own limits allow together.",
        scope=Scope.TENANTS_WRITE,
        shared=True,
    )
    cancelled_at: datetime | None = column("When it was cancelled; it is deleted a while after.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed.")
    users: Connection[User] | None = connection(
        users, "Its users.", filter=UserFilter, order=UserOrder, scope=Scope.USERS_READ, narrow=_of_caller
    )
    agents: Connection[Agent] | None = connection(
        agents, "Its agents.", filter=AgentFilter, order=AgentOrder, narrow=_of_caller
    )
    workspaces: Connection[Workspace] | None = connection(
        workspaces, "Its workspaces.", filter=WorkspaceFilter, order=WorkspaceOrder, narrow=_of_caller
    )


@form("Which tenants; fields combine with and, lists mean any of.")
class TenantFilter:
    """Filter of tenants."""

    status: list[TenantStatus] | None = optional("One of these statuses.")
    plan: list[TenantPlan] | None = optional("One of these plans.")


@form("How tenants are sorted; ties are broken by id.")
class TenantOrder:
    """Order of tenants."""

    field: TenantOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A new tenant.")
class CreateTenantInput:
    """Input of createTenant."""

    name: str = required("What people call it.")
    slug: str = required("Lower-case letters, digits and single hyphens; at most 63 characters.")
    contact_email: str | None = optional("Whom to write to.")
    plan: TenantPlan | None = optional("FREE when absent.")
    settings: JSON | None = optional("What its administrators set.")
    limits: JSON | None = optional(
        "Beside its plan: agents, workspaces, subscriptions, requests_per_minute; null lifts the plan's."
    )
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a tenant; absent stays, null clears.")
class UpdateTenantInput:
    """Input of updateTenant."""

    id: ID = required("Which one.", of="tenant")
    name: str | None = optional("What people call it.")
    contact_email: str | None = optional("Whom to write to.")
    plan: TenantPlan | None = optional("What it pays for; platform administrators only.")
    status: TenantStatus | None = optional("Whether it is served; platform administrators only.")
    settings: JSON | None = optional("What its administrators set.")
    limits: JSON | None = optional("Beside its plan; platform administrators only.")


@payload("A tenant after a change.")
class TenantPayload:
    """Payload of tenant mutations."""

    tenant: Tenant | None = column("The tenant as it is now.")
    user_errors: list[UserError] = user_errors()


def _tenant(_: Any, call: Call, id: str | None = None) -> Any:
    return call.load(by_id(models.Tenant), call.tenant_id if id is None else parse(id, "tenant"))


@part("Some lines of an export.")
class TenantExportPage:
    """A page of tenantExport."""

    lines: list[JSON] = column('Rows as {"table": …, "row": {…}}, in a fixed order.')
    next_cursor: str | None = column("Where the next page begins; null at the end.")


def _export(_: Any, call: Call, after: str | None = None, lines: int = export.MOST_LINES) -> Any:
    return export.export_tenant(call, after=after, lines=lines)


@root_fields
class TenantQueries:
    """Root fields over tenants."""

    tenant: Tenant | None = computed(
        _tenant, "The caller's own tenant when id is omitted.", [Argument("id", ID | None, "Its TypeID.")]
    )
    tenant_export: TenantExportPage | None = computed(
        _export,
        "All that the tenant has, a page at a time, by an administrator in person; hashes, keys and secrets stay here.",
        [
            Argument("after", str | None, "Only what follows this cursor; the start when absent."),
            Argument("lines", int, "How many, at most 1000.", export.MOST_LINES),
        ],
        scope=Scope.TENANTS_WRITE,
        cost=1000,
    )
    tenants: Connection[Tenant] | None = connection(
        tenants, "Platform administrators only.", filter=TenantFilter, order=TenantOrder, scope=Scope.PLATFORM_ADMIN
    )


@root_fields
class TenantMutations:
    """What can be done to tenants."""

    create_tenant: TenantPayload | None = command(
        use_cases.create_tenant,
        "Platform administrators only.",
        input=CreateTenantInput,
        payload=TenantPayload,
        scope=Scope.PLATFORM_ADMIN,
    )
    update_tenant: TenantPayload | None = command(
        use_cases.update_tenant,
        "Changes a tenant.",
        input=UpdateTenantInput,
        payload=TenantPayload,
        scope=Scope.TENANTS_WRITE,
        keep_null=True,
    )
