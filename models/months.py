"""This module is where a log is divided by month on its UUIDv7 ids, and where a whole month is given up.

Making and dropping tables is the owner's; the worker, which is not, calls two functions that do just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from models.roles import OWNER, PLATFORM

MONTHS_AHEAD: Final = 12
"""Months whose tables stand ready: a worker may be away for a year before a log has nowhere to go."""

FIRST_LOGS: Final = ("audit_logs", "data_access_logs")
"""Those that the functions were first made for."""

BY_MONTH: Final = (*FIRST_LOGS, "audit_events")


def first_id(moment: datetime) -> UUID:
    """The smallest id that can be made at ``moment``; ids made before it are smaller."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=max(0, min(milliseconds, (1 << 48) - 1)) << 80)


_EDGE: Final = """
CREATE FUNCTION month_edge(month timestamp) RETURNS uuid
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
  SELECT (lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$
"""

# Made aside and attached: CREATE TABLE … PARTITION OF would lock out the log's readers and writers.
_MAKE: Final = """
CREATE OR REPLACE FUNCTION make_log_months(ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  log text;
  month timestamp;
  part text;
  made integer := 0;
BEGIN
  FOR step IN -1 .. least(greatest(ahead, 0), 36) LOOP
    month := date_trunc('month', now() AT TIME ZONE 'UTC') + step * interval '1 month';
    FOREACH log IN ARRAY ARRAY[<logs>] LOOP
      part := log || to_char(month, '_YYYY_MM');
      CONTINUE WHEN to_regclass('public.' || part) IS NOT NULL;
      EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, log);
      EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
      EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', part);
      EXECUTE format('CREATE POLICY owner ON public.%I TO <owner> USING (true) WITH CHECK (true)', part);
      EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
        log, part, month_edge(month), month_edge(month + interval '1 month'));
      made := made + 1;
    END LOOP;
  END LOOP;
  RETURN made;
END $$
"""

# The age and the checkpoints are asked here again: a caller that is wrong, or not ours, must not cut a chain.
_DROP: Final = """
CREATE OR REPLACE FUNCTION drop_log_month(log text, month timestamp) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  part text := log || to_char(month, '_YYYY_MM');
  standing boolean;
BEGIN
  IF log <> ALL (ARRAY[<logs>]) OR month <> date_trunc('month', month) THEN
    RAISE EXCEPTION 'there is no such month of a log' USING ERRCODE = '22023';
  END IF;
  IF month + interval '37 months' > now() AT TIME ZONE 'UTC' THEN
    RAISE EXCEPTION 'a month is kept for three years' USING ERRCODE = '42501';
  END IF;
  IF to_regclass('public.' || part) IS NULL THEN
    RETURN false;
  END IF;
  IF log = 'audit_logs' THEN
    EXECUTE format('SELECT EXISTS (SELECT FROM audit_heads h JOIN LATERAL ('
      'SELECT seq FROM public.%I a WHERE a.tenant_id = h.tenant_id ORDER BY a.id DESC LIMIT 1) last ON true '
      'WHERE NOT EXISTS (SELECT FROM audit_checkpoints c WHERE c.tenant_id = h.tenant_id AND c.seq >= last.seq))',
      part) INTO standing;
    IF standing THEN
      RAISE EXCEPTION 'a tenant has no checkpoint for this month' USING ERRCODE = '42501';
    END IF;
  END IF;
  EXECUTE format('DROP TABLE public.%I', part);
  RETURN true;
END $$
"""

_REFUSE: Final = """
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE EXCEPTION 'this log is only added to' USING ERRCODE = '42501';
END $$
"""

_REVIEW: Final = """
CREATE FUNCTION refuse_all_but_review() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  review text[] := ARRAY['reviewed_by_type', 'reviewed_by', 'reviewed_at', 'review_note'];
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.requires_review AND OLD.reviewed_at IS NULL AND NEW.reviewed_at IS NOT NULL
    AND to_jsonb(NEW) - review = to_jsonb(OLD) - review THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'this log is only added to' USING ERRCODE = '42501';
END $$
"""


def _for_logs(logs: Sequence[str]) -> list[str]:
    named = ", ".join(f"'{one}'" for one in logs)
    return [one.replace("<logs>", named).replace("<owner>", OWNER) for one in (_MAKE, _DROP)]


def divide_reviewed_by_month(log: str, logs: Sequence[str]) -> list[str]:
    """Statements that divide ``log``, too, whose rows change once, by their review; ``logs`` are all there are now."""
    return [
        *_for_logs(logs),
        _REVIEW,
        "REVOKE ALL ON FUNCTION refuse_all_but_review() FROM PUBLIC",
        f"CREATE TRIGGER only_reviewed BEFORE UPDATE OR DELETE ON {log} "
        "FOR EACH ROW EXECUTE FUNCTION refuse_all_but_review()",
        f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON {log} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        f"SELECT make_log_months({MONTHS_AHEAD})",
    ]


def divide_by_month() -> list[str]:
    """Statements that make the functions, the first months, and the triggers that refuse any change of a row."""
    statements = [_EDGE, *_for_logs(FIRST_LOGS), _REFUSE]
    for name in ("make_log_months(integer)", "drop_log_month(text, timestamp)"):
        statements += [
            f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {name} TO {PLATFORM}",
        ]
    statements += [
        "REVOKE ALL ON FUNCTION month_edge(timestamp) FROM PUBLIC",
        "REVOKE ALL ON FUNCTION refuse_change() FROM PUBLIC",
    ]
    for log in FIRST_LOGS:
        statements += [
            f"CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE ON {log} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()",
            f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON {log} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        ]
    return [*statements, f"SELECT make_log_months({MONTHS_AHEAD})"]
