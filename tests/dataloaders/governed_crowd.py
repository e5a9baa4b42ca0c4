"""This module is where the crowd's policies, and what they left behind, are filled in and asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from models import AuditSeverity, HitlMode, TopicScope, utcnow

FILL: Final = {
    "policy_rules": """
INSERT INTO policy_rules (tenant_id, id, name, description, tier, conditions, hitl_mode, local_only, approval_required,
  priority, is_immutable, enabled, version, created_at)
SELECT CASE WHEN n % 11 = 0 THEN CAST('00000000-0000-7000-8000-000000000001' AS uuid)
  ELSE (CAST(:tenants AS uuid[]))[1 + n % :spread] END,
  gen_random_uuid(), 'rule ' || n, '', CASE WHEN n % 7 = 0 THEN 'organization' ELSE 'standard' END, '{}', 'draft',
  false, true, n * 7919 % 10007, false, true, 1, now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "prohibited_topics": """
INSERT INTO prohibited_topics (tenant_id, id, topic, scope, agent_id, department, version, created_at)
SELECT one, gen_random_uuid(), 'topic ' || n,
  CASE WHEN n % 101 < 5 THEN 'agent' WHEN n % 89 = 0 THEN 'department' ELSE 'global' END,
  CASE WHEN n % 101 < 5 THEN one END, CASE WHEN n % 101 >= 5 AND n % 89 = 0 THEN 'Law' END, 1,
  now() - n * interval '1 second'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
    "governance_versions": """
INSERT INTO governance_versions (tenant_id, id, version_no, description, rules_snapshot, changed_by, created_at)
SELECT one, gen_random_uuid(), n, 'version ' || n, '{}', CASE WHEN n % 101 < 5 THEN one END,
  now() - n * interval '1 second'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
    "query_events": """
INSERT INTO query_events (tenant_id, id, occurred_at, user_id, department, agent_id, conversation_id, query_text,
  latency_ms, tokens_in, tokens_out, cost_usd, hitl_mode, was_escalated, was_approved, guardrails_triggered, success)
SELECT one, gen_random_uuid(), now() - n * interval '1 second', CASE WHEN n % 101 < 5 THEN one END,
  'department ' || n % 151, CASE WHEN n % 103 < 5 THEN one END, CASE WHEN n % 107 < 5 THEN one END, 'Where?', 0, 0, 0,
  0, CASE WHEN n % 89 = 0 THEN 'escalate' ELSE 'inform' END, false, false, '{}', true
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
    "audit_events": """
INSERT INTO audit_events (tenant_id, id, occurred_at, event_type, severity, user_id, agent_id, action, risk_signals,
  details, pii_detected, guardrails_triggered, requires_review)
SELECT one, uuidv7(- n * interval '1 second'), now() - n * interval '1 second', 'kind_' || n % 151,
  CASE WHEN n % 89 = 0 THEN 'critical' ELSE 'info' END, CASE WHEN n % 101 < 5 THEN one END,
  CASE WHEN n % 103 < 5 THEN one END, 'test.run', '{}', '{}', '{}', '{}', n % 97 = 0
FROM (SELECT n, CASE WHEN n % 16 < :spread THEN (CAST(:tenants AS uuid[]))[1 + n % 16]
  ELSE md5((n % 16)::text)::uuid END AS one FROM generate_series(1, :rows * 4) AS n) numbered
""",
}
"""How the tables of policies are filled, after those that they refer to."""


def samples(mine: UUID) -> dict[tuple[str, str], object]:
    """For each filter of each of these lists a value that matches few rows of the tenant ``mine``."""
    return {
        ("prohibited_topics", "agent_id"): mine,
        ("prohibited_topics", "scope"): [TopicScope.DEPARTMENT],
        ("governance_versions", "changed_by"): mine,
        ("query_events", "agent_id"): mine,
        ("query_events", "conversation_id"): mine,
        ("query_events", "department"): "department 7",
        ("query_events", "hitl_mode"): [HitlMode.ESCALATE],
        ("query_events", "occurred_after"): utcnow() - timedelta(minutes=50),
        ("query_events", "occurred_before"): utcnow() - timedelta(hours=2),
        ("query_events", "user_id"): mine,
        ("audit_events", "agent_id"): mine,
        ("audit_events", "awaits_review"): True,
        ("audit_events", "event_type"): ["kind_7"],
        ("audit_events", "occurred_after"): utcnow() - timedelta(minutes=50),
        ("audit_events", "occurred_before"): utcnow() - timedelta(hours=6),
        ("audit_events", "severity"): [AuditSeverity.CRITICAL],
        ("audit_events", "user_id"): mine,
    }
