"""This module is where the lists of webhooks get thousands of rows to be slow with."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from models import WebhookDeliveryState

WEBHOOKS: Final = {
    "webhook_endpoints": """
WITH root AS (
  INSERT INTO webhook_endpoints (tenant_id, id, url, event_kinds, scopes, is_enabled, cursor, consecutive_failures,
    version, created_at)
  SELECT one, id, 'https://hooks.example', '{*}', '{}', true, 0, 0, 1, now() - interval '1 year'
  FROM unnest(CAST(:tenants AS uuid[])) AS one, unnest(ARRAY[one, md5(one::text)::uuid]) AS id
)
INSERT INTO webhook_endpoints (tenant_id, id, url, event_kinds, scopes, is_enabled, disabled_at, disabled_reason,
  cursor, consecutive_failures, version, created_at)
SELECT (CAST(:tenants AS uuid[]))[1 + n % :spread], gen_random_uuid(), 'https://hooks.example/' || n, '{*}', '{}',
  n % 89 > 0, CASE WHEN n % 89 = 0 THEN now() END, CASE WHEN n % 89 = 0 THEN 'manual' END, 0, 0, 1,
  now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
""",
    "webhook_deliveries": """
INSERT INTO webhook_deliveries (tenant_id, id, endpoint_id, kind, event_seq, state, attempt_count, expires_at,
  created_at)
SELECT one, gen_random_uuid(), CASE WHEN n % 101 < 5 THEN one ELSE md5(one::text)::uuid END, 'kind.verb_' || n % 151,
  n, CASE WHEN n % 97 = 0 THEN 'delivered' ELSE 'dead' END, 1, now(), now() - n * interval '1 second'
FROM (SELECT n, (CAST(:tenants AS uuid[]))[1 + n % :spread] AS one FROM generate_series(1, :rows) AS n) made
""",
}
"""How both tables are filled, endpoints first."""


def samples_of_webhooks(mine: UUID) -> dict[tuple[str, str], object]:
    """For each filter a value that matches few rows."""
    return {
        ("webhook_deliveries", "endpoint_id"): mine,
        ("webhook_deliveries", "kind"): ["kind.verb_7"],
        # Pending and dead ones have small indexes of their own, in which the state is no condition any more.
        ("webhook_deliveries", "state"): [WebhookDeliveryState.DELIVERED],
        ("webhook_endpoints", "is_enabled"): False,
    }
