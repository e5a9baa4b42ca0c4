"""This package is where rows live: what is true, their legal transitions, what protects them at rest."""

from models.activity import Event, EventTopic, EventView, StreamEpoch, StreamFloor, TenantStream
from models.agents import Agent, AgentStatus, AgentType
from models.base import Base, ImportedRow, TenantRow, utcnow
from models.coordination import IdempotencyKey, Lease
from models.credentials import (
    ApiKey,
    CredentialVersion,
    MailKind,
    OneTimePurpose,
    OneTimeToken,
    OutgoingMail,
    RefreshToken,
    Session,
    SignInFailure,
)
from models.identity_providers import IdentityProvider, SpentIdToken
from models.registry import (
    AgentAssignment,
    AssignmentStatus,
    RuntimeState,
    StructureEvent,
    Workspace,
    WorkspaceCommand,
    WorkspaceStatus,
)
from models.scopes import Role, Scope
from models.secrets import SealedRow, Secret, SecretOwner, TenantKey, TenantKeyState
from models.tenants import (
    PLAN_LIMITS,
    PLATFORM_SLUG,
    PLATFORM_TENANT_ID,
    UNLIMITED,
    Tenant,
    TenantLimits,
    TenantPlan,
    TenantStatus,
    tenant_limits,
)
from models.users import User, UserConsent, UserStatus

__all__ = [
    "PLAN_LIMITS",
    "PLATFORM_SLUG",
    "PLATFORM_TENANT_ID",
    "UNLIMITED",
    "Agent",
    "AgentAssignment",
    "AgentStatus",
    "AgentType",
    "ApiKey",
    "AssignmentStatus",
    "Base",
    "CredentialVersion",
    "Event",
    "EventTopic",
    "EventView",
    "IdempotencyKey",
    "IdentityProvider",
    "ImportedRow",
    "Lease",
    "MailKind",
    "OneTimePurpose",
    "OneTimeToken",
    "OutgoingMail",
    "RefreshToken",
    "Role",
    "RuntimeState",
    "Scope",
    "SealedRow",
    "Secret",
    "SecretOwner",
    "Session",
    "SignInFailure",
    "SpentIdToken",
    "StreamEpoch",
    "StreamFloor",
    "StructureEvent",
    "Tenant",
    "TenantKey",
    "TenantKeyState",
    "TenantLimits",
    "TenantPlan",
    "TenantRow",
    "TenantStatus",
    "TenantStream",
    "User",
    "UserConsent",
    "UserStatus",
    "Workspace",
    "WorkspaceCommand",
    "WorkspaceStatus",
    "tenant_limits",
    "utcnow",
]
