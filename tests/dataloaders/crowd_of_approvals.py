"""This module is where the crowd asks for approval: rows of every kind, and values that select few of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from dataloaders.approvals import Assigned, Assignment
from models import ApprovalKind, ApprovalStatus, HitlMode, Priority, SlaState, utcnow

FILL_APPROVALS: Final = """
WITH root AS (
  INSERT INTO approval_requests (tenant_id, id, kind, status, hitl_mode, priority, urgency, requester, original_query,
    risk_signals, guardrails_triggered, required_approvals, approvals_given, sla_state, at_risk_at, sla_due_at,
    escalations, version, created_at)
  SELECT one, one, 'response', 'pending', 'draft', 'normal', 1, 'key', 'root', '{}', '{}', 1, 0, 'on_track', now(),
    now(), 0, 1, now() - interval '1 year'
  FROM unnest(CAST(:tenants AS uuid[])) AS one
)
INSERT INTO approval_requests (tenant_id, id, kind, status, hitl_mode, priority, urgency, requester, original_query,
  risk_signals, guardrails_triggered, required_approvals, approvals_given, sla_state, at_risk_at, sla_due_at,
  escalations, version, user_id, agent_id, assigned_to, user_department, assigned_department, resolved_at, created_at)
SELECT one, gen_random_uuid(), CASE WHEN n % 97 = 0 THEN 'policy' ELSE 'response' END,
  CASE WHEN n % 89 = 0 THEN 'cancelled' ELSE 'approved' END, CASE WHEN n % 83 = 0 THEN 'inform' ELSE 'draft' END,
  'normal', CASE WHEN n % 79 = 0 THEN 3 ELSE 1 END, 'key', 'Word' || n || ' asked', '{}', '{}', 1, 0,
  CASE WHEN n % 73 = 0 THEN 'breached' ELSE 'met' END, now(), now() - n * 7919 % 500000 * interval '1 second', 0, 1,
  CASE WHEN n % 101 < 5 THEN one END, CASE WHEN n % 103 < 5 THEN one END, CASE WHEN n % 107 < 5 THEN one END,
  'department ' || n % 151, 'department ' || n % 149, now(), now() - n * interval '1 second'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
"""
"""After tenants, users and agents, each of which has a row with the tenant's own id."""


def samples_of_approvals(mine: UUID) -> dict[tuple[str, str], object]:
    """For each filter a value that matches few rows."""
    return {
        ("approval_requests", "agent_id"): mine,
        ("approval_requests", "assigned_department"): "department 7",
        ("approval_requests", "assignment"): Assigned(frozenset({Assignment.MINE}), mine),
        ("approval_requests", "created_after"): utcnow() - timedelta(minutes=50),
        ("approval_requests", "created_before"): utcnow() - timedelta(hours=2),
        ("approval_requests", "department"): "department 7",
        ("approval_requests", "hitl_mode"): [HitlMode.INFORM],
        ("approval_requests", "kind"): [ApprovalKind.POLICY],
        ("approval_requests", "priority"): [Priority.URGENT],
        ("approval_requests", "search"): "word77",
        ("approval_requests", "sla_state"): [SlaState.BREACHED],
        ("approval_requests", "status"): [ApprovalStatus.CANCELLED],
        ("approval_requests", "user_id"): mine,
    }
