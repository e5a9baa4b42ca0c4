"""This module is where lists get a database to be slow in: several tenants with thousands of rows each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from models import (
    AccessType,
    ActivitySource,
    ActivityStatus,
    ActivityType,
    AgentStatus,
    AgentType,
    AlertAction,
    AlertSeverity,
    AlertStatus,
    AnalysisStatus,
    AssignmentStatus,
    ConversationKind,
    ConversationStatus,
    DataCategory,
    LlmProviderType,
    McpServerType,
    Role,
    RunStatus,
    SecretOwner,
    ServerAuthType,
    TenantPlan,
    TenantStatus,
    ToolKind,
    ToolStatus,
    UserStatus,
    WorkspaceStatus,
    utcnow,
)
from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.ids import uuid7
from models.migrate import ensure_roles, migrate
from models.roles import OWNER
from resolvers.secrets import Owner
from tests.dataloaders import governed_crowd
from tests.dataloaders.crowd_of_approvals import FILL_APPROVALS, samples_of_approvals
from tests.dataloaders.crowd_of_webhooks import WEBHOOKS, samples_of_webhooks

TENANTS: Final = 4
ROWS: Final = 8_000

_TENANTS_ROWS: Final = """
INSERT INTO tenants (id, name, slug, plan, status, settings, limits, created_at, updated_at)
SELECT one, 'Crowd ' || n * 7919 % 1009, 'crowd-' || n, CASE WHEN n % 97 = 0 THEN 'enterprise' ELSE 'pro' END,
  CASE WHEN n % 89 = 0 THEN 'suspended' ELSE 'active' END, '{}', '{}', now() - n * interval '1 minute', now()
FROM unnest(CAST(:tenants AS uuid[]) || ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 1000)))
  WITH ORDINALITY AS t (one, n)
"""

_FILL: Final = {
    "tenants": _TENANTS_ROWS,
    "users": """
INSERT INTO users (tenant_id, id, username, email, email_key, display_name, department, roles, is_platform_admin,
  status, email_verified, failed_login_attempts, preferences, authorization_version, last_login_at, created_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), 'user' || n, 'user' || n || '@crowd.example',
  'user' || n || '@crowd.example', 'Person ' || n, 'department ' || n % 151,
  CASE WHEN n % 97 = 0 THEN '{auditor}' ELSE '{viewer}' END::text[], false,
  CASE WHEN n % 89 = 0 THEN 'suspended' ELSE 'active' END, true, 0, '{}', 1,
  CASE WHEN n % 3 > 0 THEN now() - n * 7919 % 500000 * interval '1 second' END, now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "user_consents": """
WITH root AS (
  INSERT INTO users (tenant_id, id, roles, is_platform_admin, status, email_verified, failed_login_attempts,
    preferences, authorization_version, created_at)
  SELECT one, one, '{viewer}', false, 'active', true, 0, '{}', 1, now() - interval '1 year'
  FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO user_consents (tenant_id, id, user_id, consent_type, granted, granted_at, created_at)
SELECT tenant_id, gen_random_uuid(), CASE WHEN n % 101 < 5 THEN tenant_id ELSE id END, 'kind_' || n % 151, n % 3 > 0,
  created_at, created_at FROM (SELECT *, row_number() OVER (ORDER BY created_at) AS n FROM users) u
""",
    "workspaces": """
WITH root AS (
  INSERT INTO workspaces (tenant_id, id, name, role, tier, status, heartbeat_ttl_seconds, last_error_rate,
    runtime_state, active_tasks, max_concurrent_tasks, uptime_seconds, lease_epoch, version)
  SELECT one, one, 'Root', 'Root', 2, 'online', 60, 0, 'normal', 0, 1, 0, 1, 1
  FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO workspaces (tenant_id, id, name, role, tier, status, heartbeat_ttl_seconds, last_error_rate,
  runtime_state, active_tasks, max_concurrent_tasks, uptime_seconds, lease_epoch, version, parent_id,
  last_heartbeat_at, created_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), 'place ' || n * 7919 % 1000003, 'Role ' || n,
  1 + n % 7 % 4, CASE WHEN n % 89 = 0 THEN 'failed' WHEN n % 53 = 0 THEN 'removed' ELSE 'online' END, 60, 0, 'normal',
  0, 1, 0, 1, 1, CASE WHEN n % 101 < 5 THEN (CAST(:tenants AS uuid[]))[1 + n % :spread] END,
  CASE WHEN n % 3 > 0 THEN now() - n * 7919 % 500000 * interval '1 second' END, now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "agents": """
WITH root AS (
  INSERT INTO agents (tenant_id, id, name, type, capabilities, guardrails, status, is_router, version)
  SELECT one, one, 'root', 'llm', '{}', '{}', 'active', false, 1 FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO agents (tenant_id, id, name, domain, type, capabilities, guardrails, status, is_router, version,
  workspace_id, deleted_at, created_at, updated_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), 'agent_' || n * 7919 % 1000003,
  'domain ' || n % 151, CASE WHEN n % 97 = 0 THEN 'crew_ai' ELSE 'llm' END, '{}', '{}',
  CASE WHEN n % 89 = 0 THEN 'rejected' ELSE 'active' END, false, 1,
  CASE WHEN n % 101 < 5 THEN (CAST(:tenants AS uuid[]))[1 + n % :spread] END,
  CASE WHEN n % 61 = 0 THEN now() END, now() - n * interval '1 second',
  now() - n * 7919 % 500000 * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "agent_assignments": """
INSERT INTO agent_assignments (tenant_id, id, workspace_id, agent_id, status, removed_at, created_at)
SELECT tenant_id, gen_random_uuid(), CASE WHEN n % 101 < 5 THEN tenant_id ELSE id END,
  CASE WHEN n % 103 < 5 THEN tenant_id END, CASE WHEN n % 89 = 0 THEN 'replaced' ELSE 'removed' END, now(), created_at
FROM (SELECT *, row_number() OVER (ORDER BY created_at) AS n FROM workspaces) w
""",
    "structure_events": """
INSERT INTO structure_events (tenant_id, id, seq, event_type, workspace_id, agent_id, payload)
SELECT tenant, gen_random_uuid(), n, CASE WHEN n % 89 = 0 THEN 'WORKSPACE_MOVED' ELSE 'WORKSPACE_ONLINE' END,
  CASE WHEN n % 101 < 5 THEN tenant ELSE gen_random_uuid() END, CASE WHEN n % 103 < 5 THEN tenant END, '{}'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS tenant FROM generate_series(1, :rows) AS n) made
""",
    "activity_logs": """
INSERT INTO activity_logs (tenant_id, id, workspace_id, activity_type, status, source_workspace_id, created_at)
SELECT tenant_id, gen_random_uuid(), CASE WHEN n % 101 < 5 THEN tenant_id ELSE id END,
  CASE WHEN n % 97 = 0 THEN 'error' ELSE 'agent_log' END, CASE WHEN n % 89 = 0 THEN 'timeout' ELSE 'ok' END,
  CASE WHEN n % 79 > 0 THEN tenant_id END, created_at
FROM (SELECT *, row_number() OVER (ORDER BY created_at) AS n FROM workspaces) w
""",
    "audit_logs": """
INSERT INTO audit_logs (tenant_id, id, occurred_at, seq, actor_type, actor_id, action, resource_type, resource_id,
  subject_id, key_id, mac)
SELECT one, uuidv7(- n * interval '1 second'), now() - n * interval '1 second',
  n, 'user', CASE WHEN n % 101 < 5 THEN one END, 'kind_' || n % 151, CASE WHEN n % 89 = 0 THEN 'key' ELSE 'user' END,
  CASE WHEN n % 97 < 5 THEN one ELSE gen_random_uuid() END, CASE WHEN n % 103 < 5 THEN one END, '', ''
FROM (SELECT n, CASE WHEN n % 16 < :spread THEN (CAST(:tenants AS uuid[]))[1 + n % 16]
  ELSE md5((n % 16)::text)::uuid END AS one FROM generate_series(1, :rows * 4) AS n) numbered
""",
    "data_access_logs": """
INSERT INTO data_access_logs (tenant_id, id, occurred_at, actor_type, actor_id, subject_type, subject_id,
  data_category, access_type, purpose, legal_basis)
SELECT one, uuidv7(- n * interval '1 second'), now() - n * interval '1 second', 'user',
  CASE WHEN n % 101 < 5 THEN one END, 'user', CASE WHEN n % 97 < 5 THEN one ELSE gen_random_uuid() END,
  CASE WHEN n % 89 = 0 THEN 'secret' ELSE 'account' END, CASE WHEN n % 83 = 0 THEN 'export' ELSE 'read' END,
  'to look', 'contract'
FROM (SELECT n, CASE WHEN n % 16 < :spread THEN (CAST(:tenants AS uuid[]))[1 + n % 16]
  ELSE md5((n % 16)::text)::uuid END AS one FROM generate_series(1, :rows * 4) AS n) numbered
""",
    "api_keys": """
INSERT INTO api_keys (tenant_id, id, name, prefix, secret_hash, scopes, workspace_id, created_by, revoked_at,
  created_at)
SELECT tenant, gen_random_uuid(), 'key ' || n, 'sbx_test', '', '{}', CASE WHEN n % 101 < 5 THEN tenant END,
  CASE WHEN n % 101 > 95 THEN tenant END, CASE WHEN n % 3 > 0 THEN now() END, now() - n * interval '1 second'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS tenant FROM generate_series(1, :rows) AS n) made
""",
    "sessions": """
INSERT INTO sessions (tenant_id, id, user_id, started_at, last_seen_at, revoked_at)
SELECT tenant_id, gen_random_uuid(), CASE WHEN n % 101 < 5 THEN tenant_id ELSE id END, created_at,
  now() - n * 7919 % 500000 * interval '1 second', CASE WHEN n % 3 > 0 THEN now() END
FROM (SELECT *, row_number() OVER (ORDER BY created_at) AS n FROM users) u
""",
    "tenant_keys": """
INSERT INTO tenant_keys (tenant_id, id, version, wrapped, key_encryption_key, state)
SELECT one, one, 1, '', 'local:crowd', 'active' FROM unnest(CAST(:tenants AS uuid[])) AS one
""",
    "secrets": """
INSERT INTO secrets (tenant_id, id, owner_type, owner_id, key, key_id, sealed, sealed_version, created_at, updated_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(),
  CASE WHEN n % 101 < 5 THEN 'tenant' ELSE 'agent' END,
  CASE WHEN n % 101 < 5 THEN (CAST(:tenants AS uuid[]))[1 + n % :spread] ELSE gen_random_uuid() END,
  'KEY_' || CASE WHEN n % 101 < 5 THEN n ELSE n / 40 END, (CAST(:tenants AS uuid[]))[1 + n % :spread],
  repeat('x', 200)::bytea, 1,
  now() - n * interval '1 second', now() - n * 7919 % 500000 * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "llm_providers": """
INSERT INTO llm_providers (tenant_id, id, name, provider_type, model_id, is_default, is_enabled, config, version,
  created_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), 'provider ' || n * 7919 % 1000003,
  CASE WHEN n % 97 = 0 THEN 'ollama' ELSE 'openai' END, 'model', false, n % 89 > 0, '{}', 1,
  now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "mcp_servers": """
INSERT INTO mcp_servers (tenant_id, id, name, config, environments, tools, type, version, created_at)
SELECT CASE WHEN n % 11 = 0 THEN CAST('00000000-0000-7000-8000-000000000001' AS uuid)
  ELSE (CAST(:tenants AS uuid[]))[1 + n % :spread] END,
  gen_random_uuid(), 'server ' || n * 7919 % 1000003, '{}', '{}', '[]',
  CASE WHEN n % 97 = 0 THEN 'official' ELSE 'custom' END, 1, now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "tools": """
INSERT INTO tools (tenant_id, id, name, config, environments, version, created_at)
SELECT CASE WHEN n % 11 = 0 THEN CAST('00000000-0000-7000-8000-000000000001' AS uuid)
  ELSE (CAST(:tenants AS uuid[]))[1 + n % :spread] END,
  gen_random_uuid(), 'tool ' || n * 7919 % 1000003, '{}', '{}', 1, now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "agent_templates": """
INSERT INTO agent_templates (tenant_id, id, name, description, config, category, is_builtin, version, created_at)
SELECT CASE WHEN n % 11 = 0 THEN CAST('00000000-0000-7000-8000-000000000001' AS uuid)
  ELSE (CAST(:tenants AS uuid[]))[1 + n % :spread] END,
  gen_random_uuid(), 'template ' || n * 7919 % 1000003, '', '{}', 'kind ' || n % 151, false, 1,
  now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "contacts": """
WITH root AS (
  INSERT INTO contacts (tenant_id, id, name, meta, created_at)
  SELECT one, one, 'Root', '{}', now() - interval '1 year' FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO contacts (tenant_id, id, external_id, name, meta, created_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), 'ext' || n, 'Contact ' || n, '{}',
  now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "alert_rules": """
INSERT INTO alert_rules (tenant_id, id, name, priority, alert_name_pattern, severity_pattern, instance_pattern,
  job_pattern, action, enabled, version, created_at, deleted_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), 'rule ' || n, n % 151, '*', '*', '*', '*',
  CASE WHEN n % 97 = 0 THEN 'ignore' ELSE 'manual' END, n % 89 > 0, 1, now() - n * interval '1 second',
  CASE WHEN n % 3 = 0 THEN now() END
FROM generate_series(1, :rows) AS n
""",
    "alerts": """
WITH root AS (
  INSERT INTO alerts (tenant_id, id, fingerprint, starts_at, received_at, alert_name, severity, status, labels,
    annotations, raw_payload, action_taken, still_firing, analyzed, analysis_status, analysis_progress,
    analysis_attempts, analysis_count, recommendations, version)
  SELECT one, one, 'root', now() - interval '1 year', now() - interval '1 year', 'Root', 'info', 'firing', '{}', '{}',
    '{}', 'manual', false, false, 'none', 0, 0, 0, '{}', 1 FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO alerts (tenant_id, id, fingerprint, starts_at, received_at, alert_name, severity, instance, job, status,
  labels, annotations, raw_payload, action_taken, resolved_at, still_firing, analyzed, analysis_status,
  analysis_progress, analysis_attempts, analysis_count, recommendations, version)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), md5(n::text), now() - n * interval '1 second',
  now() - n * 7919 % 500000 * interval '1 second', 'Alert' || n % 151,
  (ARRAY['critical', 'error', 'warning', 'info', 'unknown'])[1 + n % 7 % 5], 'host-' || n % 151, 'job-' || n % 151,
  CASE WHEN n % 89 = 0 THEN 'firing' ELSE 'resolved' END, '{}', '{}', '{}',
  CASE WHEN n % 97 = 0 THEN 'auto_analyze' WHEN n % 5 < 3 THEN 'ignore' ELSE 'manual' END,
  CASE WHEN n % 89 = 0 THEN NULL ELSE now() END, false, n % 79 = 0,
  CASE WHEN n % 83 = 0 THEN 'failed' ELSE 'none' END, 0, 0, 0, '{}', 1
FROM generate_series(1, :rows) AS n
""",
    "conversations": """
WITH threads AS (
  INSERT INTO conversations (tenant_id, id, kind, status, metadata, message_count, token_count, created_at)
  SELECT one, id, 'chat', 'active', '{}', 0, 0, now() - interval '1 year'
  FROM unnest(CAST(:tenants AS uuid[])) AS one, unnest(ARRAY[one, md5(one::text)::uuid]) AS id
)
INSERT INTO conversations (tenant_id, id, kind, status, metadata, message_count, token_count, title, user_id,
  contact_id, agent_id, alert_id, last_message_at, created_at)
SELECT one, gen_random_uuid(), CASE WHEN n % 97 = 0 THEN 'alert_chat' ELSE 'chat' END,
  CASE WHEN n % 89 = 0 THEN 'archived' WHEN n % 53 = 0 THEN 'deleted' ELSE 'active' END, '{}', 0, 0, 'Talk ' || n,
  CASE WHEN n % 101 < 5 THEN one END, CASE WHEN n % 103 < 5 THEN one END, CASE WHEN n % 107 < 5 THEN one END,
  CASE WHEN n % 109 < 5 THEN one END,
  CASE WHEN n % 3 > 0 THEN now() - n * 7919 % 500000 * interval '1 second' END, now() - n * interval '1 second'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
    "messages": """
WITH root AS (
  INSERT INTO messages (tenant_id, id, conversation_id, seq, role, content, content_type, metadata, state, created_at)
  SELECT one, one, one, :rows + 1, 'user', 'root', 'text', '{}', 'final', now() - interval '1 year'
  FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO messages (tenant_id, id, conversation_id, seq, role, content, content_type, metadata, state, user_id,
  created_at)
SELECT one, gen_random_uuid(), CASE WHEN n % 101 < 5 THEN one ELSE md5(one::text)::uuid END, n, 'user',
  'Word' || n || ' said', 'text', '{}', 'final', CASE WHEN n % 103 < 5 THEN one END, now() - n * interval '1 second'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
    "approval_requests": FILL_APPROVALS,
    "agent_runs": """
WITH root AS (
  INSERT INTO agent_runs (tenant_id, id, agent_name, state, status, input_tokens, output_tokens, total_cost, started_at)
  SELECT one, one, 'root', '{}', 'active', 0, 0, 0, now() - interval '1 year'
  FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO agent_runs (tenant_id, id, agent_name, state, status, input_tokens, output_tokens, total_cost, user_id,
  conversation_id, agent_id, started_at, ended_at)
SELECT one, gen_random_uuid(), 'agent', '{}', CASE WHEN n % 89 = 0 THEN 'failed' ELSE 'completed' END, 1, 1, 0.5,
  CASE WHEN n % 101 < 5 THEN one END, CASE WHEN n % 103 < 5 THEN one END, CASE WHEN n % 107 < 5 THEN one END,
  now() - n * interval '1 second', now()
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
    "tool_executions": """
INSERT INTO tool_executions (tenant_id, id, kind, status, tool_name, run_id, conversation_id, message_id, user_id,
  created_at)
SELECT one, gen_random_uuid(), CASE WHEN n % 97 = 0 THEN 'skill' ELSE 'mcp' END,
  CASE WHEN n % 89 = 0 THEN 'timeout' ELSE 'success' END, 'tool_' || n % 151, CASE WHEN n % 101 < 5 THEN one END,
  CASE WHEN n % 103 < 5 THEN one END, CASE WHEN n % 107 < 5 THEN one END, CASE WHEN n % 109 < 5 THEN one END,
  now() - n * interval '1 second'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
    "servers": """
WITH root AS (
  INSERT INTO servers (tenant_id, id, name, hostname, port, username, auth_type, host_key_fingerprint, version,
    created_at)
  SELECT one, one, 'root', 'root.example', 22, 'ops', 'key', '', 1, now() - interval '1 year'
  FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO servers (tenant_id, id, name, hostname, port, username, auth_type, host_key_fingerprint, environment,
  version, created_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), 'server ' || n * 7919 % 1000003,
  'host-' || n % 151, 22, 'ops', CASE WHEN n % 97 = 0 THEN 'password' ELSE 'key' END, '', 'environment ' || n % 149, 1,
  now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "terminal_sessions": """
INSERT INTO terminal_sessions (tenant_id, id, user_id, server_id, server_name, alert_id, started_at, ended_at)
SELECT one, gen_random_uuid(), CASE WHEN n % 101 < 5 THEN one END, CASE WHEN n % 103 < 5 THEN one END, 'server',
  CASE WHEN n % 107 < 5 THEN one END, now() - n * interval '1 second', CASE WHEN n % 89 > 0 THEN now() END
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
    **WEBHOOKS,
} | governed_crowd.FILL
"""How each listed table is filled, parents first; a new list brings its own."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """A full database; ``tenants[0]`` is the one that reads."""

    database: Database
    tenants: list[UUID]

    @property
    def mine(self) -> UUID:
        """The tenant that reads. Its root workspace has the same id."""
        return self.tenants[0]

    @classmethod
    async def gather(cls, superuser_url: str) -> Crowd:
        """Make the database beside the others, migrate and fill it."""
        server = create_async_engine(superuser_url, isolation_level="AUTOCOMMIT")
        async with server.connect() as connection:
            await connection.exec_driver_sql("CREATE DATABASE crowd")
        await server.dispose()
        url = make_url(superuser_url).set(database="crowd").render_as_string(hide_password=False)
        tenants = [uuid7() for _ in range(TENANTS)]
        superuser, owner = create_async_engine(url), create_async_engine(role_url(url, OWNER))
        await ensure_roles(superuser, "crowd")
        await migrate(owner)
        await _fill(owner, tenants)
        await superuser.dispose()
        await owner.dispose()
        return cls(Database(DatabaseUrls.for_roles(url), PoolOptions(size=4)), tenants)


async def _fill(owner: AsyncEngine, tenants: list[UUID]) -> None:
    values: dict[str, Any] = {"tenants": tenants, "spread": TENANTS, "rows": ROWS}
    async with owner.begin() as connection:
        for statement in _FILL.values():
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            await connection.execute(text(statement), used)
    async with owner.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in _FILL:
            await alone.exec_driver_sql(f"VACUUM ANALYZE {table}")


def samples(crowd: Crowd) -> dict[tuple[str, str], object]:
    """For each filter of each list a value that matches few rows."""
    return (
        samples_of_approvals(crowd.mine)
        | _samples_of_talks(crowd)
        | _samples_of_places(crowd)
        | governed_crowd.samples(crowd.mine)
        | _samples_of_servers(crowd)
        | samples_of_webhooks(crowd.mine)
        | {
            ("agents", "domain"): "domain 7",
            ("agents", "search"): "agent domain 15",
            ("agents", "status"): [AgentStatus.REJECTED],
            ("agents", "type"): [AgentType.CREW_AI],
            ("agents", "workspace_id"): crowd.mine,
            ("agent_templates", "category"): "kind 7",
            ("agent_templates", "name"): "template 31676",
            ("llm_providers", "is_enabled"): False,
            ("llm_providers", "name"): "provider 31676",
            ("llm_providers", "provider_type"): [LlmProviderType.OLLAMA],
            ("mcp_servers", "name"): "server 31676",
            ("mcp_servers", "type"): [McpServerType.OFFICIAL],
            ("tools", "name"): "tool 31676",
            ("api_keys", "created_by"): crowd.mine,
            ("api_keys", "is_active"): True,
            ("api_keys", "workspace_id"): crowd.mine,
            ("sessions", "is_active"): True,
            ("sessions", "user_id"): crowd.mine,
            ("audit_logs", "action"): ["kind_7"],
            ("audit_logs", "actor_id"): crowd.mine,
            ("audit_logs", "occurred_after"): utcnow() - timedelta(minutes=50),
            ("audit_logs", "occurred_before"): utcnow() - timedelta(hours=6),
            ("audit_logs", "resource_id"): crowd.mine,
            ("audit_logs", "resource_type"): ["key"],
            ("audit_logs", "subject_id"): crowd.mine,
            ("data_access_logs", "access_type"): [AccessType.EXPORT],
            ("data_access_logs", "actor_id"): crowd.mine,
            ("data_access_logs", "data_category"): [DataCategory.SECRET],
            ("data_access_logs", "occurred_after"): utcnow() - timedelta(minutes=50),
            ("data_access_logs", "occurred_before"): utcnow() - timedelta(hours=6),
            ("data_access_logs", "subject_id"): crowd.mine,
            ("secrets", "key"): "KEY_7",
            ("secrets", "owner_id"): Owner(SecretOwner.TENANT, crowd.mine),
            ("secrets", "owner_type"): [SecretOwner.TENANT],
            ("tenants", "plan"): [TenantPlan.ENTERPRISE],
            ("tenants", "status"): [TenantStatus.SUSPENDED],
            ("user_consents", "consent_type"): ["kind_7"],
            ("user_consents", "granted"): False,
            ("user_consents", "user_id"): crowd.mine,
            ("users", "department"): "department 7",
            ("users", "roles"): [Role.AUDITOR],
            ("users", "search"): "user77",
            ("users", "status"): [UserStatus.SUSPENDED],
            ("workspaces", "parent_id"): crowd.mine,
            ("workspaces", "search"): "place 77",
            ("workspaces", "status"): [WorkspaceStatus.FAILED],
            ("workspaces", "tier"): [4],
        }
    )


def _samples_of_talks(crowd: Crowd) -> dict[tuple[str, str], object]:
    return {
        ("agent_runs", "agent_id"): crowd.mine,
        ("agent_runs", "conversation_id"): crowd.mine,
        ("agent_runs", "status"): [RunStatus.FAILED],
        ("alert_rules", "action"): [AlertAction.IGNORE],
        ("alert_rules", "enabled"): False,
        ("alerts", "action_taken"): [AlertAction.AUTO_ANALYZE],
        ("alerts", "alert_name"): "Alert7",
        ("alerts", "analysis_status"): [AnalysisStatus.FAILED],
        ("alerts", "analyzed"): True,
        ("alerts", "include_ignored"): False,
        ("alerts", "instance"): "host-7",
        ("alerts", "job"): "job-7",
        ("alerts", "search"): "host 7",
        ("alerts", "severity"): [AlertSeverity.CRITICAL],
        ("alerts", "started_after"): utcnow() - timedelta(minutes=50),
        ("alerts", "started_before"): utcnow() - timedelta(hours=2),
        ("alerts", "status"): [AlertStatus.FIRING],
        ("agent_runs", "user_id"): crowd.mine,
        ("contacts", "external_id"): "ext76",
        ("contacts", "search"): "contact 77",
        ("conversations", "agent_id"): crowd.mine,
        ("conversations", "alert_id"): crowd.mine,
        ("conversations", "contact_id"): crowd.mine,
        ("conversations", "kind"): [ConversationKind.ALERT_CHAT],
        ("conversations", "search"): "talk 77",
        ("conversations", "status"): [ConversationStatus.ARCHIVED],
        ("conversations", "user_id"): crowd.mine,
        ("messages", "conversation_id"): crowd.mine,
        ("messages", "search"): "word77",
        ("messages", "user_id"): crowd.mine,
        ("tool_executions", "conversation_id"): crowd.mine,
        ("tool_executions", "kind"): [ToolKind.SKILL],
        ("tool_executions", "message_id"): crowd.mine,
        ("tool_executions", "run_id"): crowd.mine,
        ("tool_executions", "status"): [ToolStatus.TIMEOUT],
        ("tool_executions", "tool_name"): "tool_7",
        ("tool_executions", "user_id"): crowd.mine,
    }


def _samples_of_places(crowd: Crowd) -> dict[tuple[str, str], object]:
    return {
        ("activity_logs", "activity_type"): [ActivityType.ERROR],
        ("activity_logs", "created_after"): utcnow() - timedelta(minutes=50),
        ("activity_logs", "created_before"): utcnow() - timedelta(hours=2),
        ("activity_logs", "source"): [ActivitySource.CANVAS],
        ("activity_logs", "status"): [ActivityStatus.TIMEOUT],
        ("activity_logs", "workspace_id"): crowd.mine,
        ("agent_assignments", "agent_id"): crowd.mine,
        ("agent_assignments", "status"): [AssignmentStatus.REPLACED],
        ("agent_assignments", "workspace_id"): crowd.mine,
        ("structure_events", "agent_id"): crowd.mine,
        ("structure_events", "event_type"): ["WORKSPACE_MOVED"],
        ("structure_events", "workspace_id"): crowd.mine,
    }


def _samples_of_servers(crowd: Crowd) -> dict[tuple[str, str], object]:
    return {
        ("servers", "auth_type"): [ServerAuthType.PASSWORD],
        ("servers", "environment"): "environment 7",
        ("servers", "hostname"): "host-7",
        ("servers", "name"): "server 31676",
        ("terminal_sessions", "alert_id"): crowd.mine,
        ("terminal_sessions", "is_open"): True,
        ("terminal_sessions", "server_id"): crowd.mine,
        ("terminal_sessions", "started_after"): utcnow() - timedelta(minutes=50),
        ("terminal_sessions", "started_before"): utcnow() - timedelta(hours=2),
        ("terminal_sessions", "user_id"): crowd.mine,
    }
