"""This module is where the scopes and the roles that hold them stand, in one table."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What a credential may do: ``resource:verb``. A field demands one of these."""

    PUBLIC = "public"
    SIGNED_IN = "signed-in"
    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"
    PLATFORM_ADMIN = "platform:admin"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    SECRETS_READ = "secrets:read"
    SECRETS_WRITE = "secrets:write"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    AGENTS_DECIDE = "agents:decide"
    CATALOG_READ = "catalog:read"
    CATALOG_WRITE = "catalog:write"
    WORKSPACES_READ = "workspaces:read"
    WORKSPACES_WRITE = "workspaces:write"
    WORKSPACES_REGISTER = "workspaces:register"
    WORKSPACES_TOKENS = "workspaces:tokens"
    HEARTBEATS_WRITE = "heartbeats:write"
    CONVERSATIONS_READ = "conversations:read"
    CONVERSATIONS_WRITE = "conversations:write"
    MESSAGES_WRITE = "messages:write"
    MESSAGES_WRITE_AS_AGENT = "messages:write_as_agent"
    SANITIZED_MESSAGES_READ = "sanitized_messages:read"
    CONTACTS_READ = "contacts:read"
    CONTACTS_WRITE = "contacts:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    ACTIVITY_READ = "activity:read"
    ACTIVITY_WRITE = "activity:write"
    ALERTS_READ = "alerts:read"
    ALERTS_WRITE = "alerts:write"
    ALERTS_ANALYZE = "alerts:analyze"
    ALERTS_INGEST = "alerts:ingest"
    ALERT_RULES_WRITE = "alert_rules:write"
    SERVERS_READ = "servers:read"
    SERVERS_MANAGE = "servers:manage"
    TERMINALS_READ = "terminals:read"
    TERMINALS_WRITE = "terminals:write"
    WEBHOOKS_MANAGE = "webhooks:manage"
    AUDIT_READ = "audit:read"
    AUDIT_EVENTS_READ = "audit_events:read"
    AUDIT_EVENTS_REVIEW = "audit_events:review"
    APPROVALS_READ = "approvals:read"
    APPROVAL_TEXTS_READ = "approval_texts:read"
    APPROVALS_REQUEST = "approvals:request"
    APPROVALS_DECIDE = "approvals:decide"
    POLICIES_READ = "policies:read"
    POLICIES_WRITE = "policies:write"
    POLICIES_EVALUATE = "policies:evaluate"
    GOVERNANCE_HISTORY_READ = "governance_history:read"
    QUERY_EVENTS_READ = "query_events:read"
    PRIVACY_WRITE = "privacy:write"
    RETENTION_WRITE = "retention:write"


class Role(StrEnum):
    """A named set of scopes."""

    ADMIN = "admin"
    OPERATOR = "operator"
    MEMBER = "member"
    VIEWER = "viewer"
    AUDITOR = "auditor"
    API_CLIENT = "api_client"


_VIEWER: Final = frozenset(
    {
        Scope.SIGNED_IN,
        Scope.TENANTS_READ,
        Scope.AGENTS_READ,
        Scope.CATALOG_READ,
        Scope.WORKSPACES_READ,
        Scope.ACTIVITY_READ,
        Scope.APPROVALS_READ,
        Scope.POLICIES_READ,
        Scope.ALERTS_READ,
    }
)
# One's own conversations need no scope to be read; this one begins them and speaks in them.
_MEMBER: Final = _VIEWER | {Scope.MESSAGES_WRITE, Scope.APPROVALS_REQUEST}
_OPERATOR: Final = _MEMBER | {
    Scope.AGENTS_WRITE,
    Scope.AGENTS_DECIDE,
    Scope.WORKSPACES_WRITE,
    Scope.WORKSPACES_REGISTER,
    Scope.HEARTBEATS_WRITE,
    Scope.CONVERSATIONS_READ,
    Scope.CONVERSATIONS_WRITE,
    Scope.SANITIZED_MESSAGES_READ,
    Scope.CONTACTS_READ,
    Scope.CONTACTS_WRITE,
    Scope.RUNS_READ,
    Scope.APPROVAL_TEXTS_READ,
    Scope.APPROVALS_DECIDE,
    Scope.POLICIES_EVALUATE,
    Scope.AUDIT_EVENTS_READ,
    Scope.AUDIT_EVENTS_REVIEW,
    Scope.QUERY_EVENTS_READ,
    Scope.ALERTS_WRITE,
    Scope.ALERTS_ANALYZE,
    Scope.SERVERS_READ,
    Scope.TERMINALS_READ,
    Scope.TERMINALS_WRITE,
}
_ADMIN: Final = frozenset(Scope) - {Scope.PUBLIC, Scope.PLATFORM_ADMIN}

ROLE_SCOPES: Final[dict[Role, frozenset[Scope]]] = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _MEMBER,
    Role.OPERATOR: _OPERATOR,
    Role.AUDITOR: _VIEWER
    | {
        Scope.AUDIT_READ,
        Scope.APPROVAL_TEXTS_READ,
        Scope.AUDIT_EVENTS_READ,
        Scope.GOVERNANCE_HISTORY_READ,
        Scope.QUERY_EVENTS_READ,
        Scope.SERVERS_READ,
        Scope.TERMINALS_READ,
    },
    Role.ADMIN: _ADMIN,
    # A key carries its own scopes, so the role itself gives none beyond being known.
    Role.API_CLIENT: frozenset({Scope.SIGNED_IN}),
}

INGEST_SCOPES: Final = frozenset(
    {
        Scope.WORKSPACES_READ,
        Scope.WORKSPACES_WRITE,
        Scope.WORKSPACES_REGISTER,
        Scope.HEARTBEATS_WRITE,
        Scope.ACTIVITY_WRITE,
        Scope.ALERTS_READ,
        Scope.ALERTS_ANALYZE,
        Scope.ALERTS_INGEST,
        Scope.AGENTS_READ,
        Scope.CONVERSATIONS_READ,
        Scope.CONVERSATIONS_WRITE,
        Scope.MESSAGES_WRITE,
        Scope.MESSAGES_WRITE_AS_AGENT,
        Scope.CONTACTS_READ,
        Scope.CONTACTS_WRITE,
        Scope.RUNS_READ,
        Scope.RUNS_WRITE,
        Scope.APPROVALS_READ,
        Scope.APPROVALS_REQUEST,
        Scope.POLICIES_READ,
        Scope.POLICIES_EVALUATE,
    }
)
"""What a fleet's own key needs to feed the gateway."""

WORKSPACE_TOKEN_SCOPES: Final = frozenset(
    {
        Scope.WORKSPACES_REGISTER,
        Scope.HEARTBEATS_WRITE,
        Scope.ACTIVITY_WRITE,
        Scope.MESSAGES_WRITE,
        Scope.MESSAGES_WRITE_AS_AGENT,
        Scope.RUNS_WRITE,
        Scope.APPROVALS_REQUEST,
        Scope.POLICIES_READ,
    }
)
"""What a workspace's machine token may do, and only for that workspace and the agents in it."""

GRANTABLE_SCOPES: Final = _ADMIN - {Scope.SIGNED_IN}
"""What an API key can be given."""


def scopes_of(roles: list[Role]) -> frozenset[Scope]:
    """The union of the roles' scopes."""
    return frozenset().union(*(ROLE_SCOPES[role] for role in roles))
