"""This package is where rows live: what is true, their legal transitions, what protects them at rest."""

from models.activity import Event, EventTopic, EventView, StreamEpoch, StreamFloor, TenantStream
from models.agents import Agent, AgentStatus, AgentType
from models.base import Base, ImportedRow, TenantRow, utcnow
from models.coordination import IdempotencyKey, Lease
from models.credentials import ApiKey, CredentialVersion, RefreshToken, Session
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
from models.tenants import PLATFORM_SLUG, PLATFORM_TENANT_ID, Tenant, TenantPlan, TenantStatus
from models.users import User, UserConsent, UserStatus

__all__ = [
    "PLATFORM_SLUG",
    "PLATFORM_TENANT_ID",
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
    "ImportedRow",
    "Lease",
    "RefreshToken",
    "Role",
    "RuntimeState",
    "Scope",
    "SealedRow",
    "Secret",
    "SecretOwner",
    "Session",
    "StreamEpoch",
    "StreamFloor",
    "StructureEvent",
    "Tenant",
    "TenantKey",
    "TenantKeyState",
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
    "utcnow",
]
