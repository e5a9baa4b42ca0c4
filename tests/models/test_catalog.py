"""This module is where the database itself is asked, for every table there is, whether tenants are kept apart.

What differs from the rule stands on a named list with its reason; a table that a later migration makes is covered
from its first day, and an entry that is no longer needed fails too.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from models import PLATFORM_TENANT_ID
from models.base import Base
from models.database import role_url
from models.migrate import differences
from models.roles import APP, INGEST, OWNER, PLATFORM, ROLES, SEARCH, SERVING, TAIL

WITHOUT_TENANT: Final = {
    "alembic_version": "alembic's own: which migration ran last",
    "leases": "which process does a job for all tenants",
    "stream_epoch": "one row that names the database",
    "tenants": "its own id is what every other table calls tenant_id",
}

WITHOUT_PROTECTION: Final = {"alembic_version": "alembic makes it before there are policies; it holds no tenant's rows"}

DEFINERS: Final = {
    "drop_log_month": "dropping a table is the owner's; refuses a month younger than three years or not signed for",
    "make_log_months": "making a table is the owner's; makes the months that are missing and nothing else",
    "search_agents": "@@ is not leak-proof; adds the tenant itself and returns ids",
    "search_approval_requests": "@@ is not leak-proof; adds the tenant itself and returns ids",
    "search_alert_series": "@@ is not leak-proof; adds the tenant itself and returns ids",
    "search_contacts": "@@ is not leak-proof; adds the tenant itself and returns ids",
    "search_conversations": "@@ is not leak-proof; adds the tenant itself and returns ids",
    "search_messages": "@@ is not leak-proof; adds the tenant itself and returns ids",
    "search_users": "@@ is not leak-proof; adds the tenant itself and returns ids",
    "search_workspaces": "@@ is not leak-proof; adds the tenant itself and returns ids",
    "tenant_by_slug": "sign-in knows a slug and no tenant yet; returns id and status",
}

SHARED: Final = {
    "agent_templates": "the built-in ones are for everybody",
    "governance_heads": "the platform's says whether its rules have changed",
    "mcp_servers": "the platform's are for everybody",
    "policy_rules": "the platform's hold for everybody",
    "tools": "the platform's are for everybody",
}
"""Tables of which every tenant also sees the platform's rows; it writes none of them."""

OF_THE_WORKER: Final = {"drop_log_month", "make_log_months"}
"""Functions with the rights of the owner, which only the worker's role may call."""

WITHOUT_PARENT: Final = {
    "audit_checkpoints": "what proves a chain outlives its tenant",
    "audit_events": "no foreign key leaves it, so no other row's end can touch it",
    "audit_heads": "what proves a chain outlives its tenant",
    "audit_logs": "no foreign key leaves it, so no other row's end can touch it",
    "data_access_logs": "no foreign key leaves it, so no other row's end can touch it",
}

FULL: Final = {"SELECT", "INSERT", "UPDATE", "DELETE"}

APP_MAY_LESS: Final = {
    "audit_checkpoints": {"SELECT", "INSERT"},  # signed once
    "audit_events": {"SELECT", "INSERT", "UPDATE"},  # a trigger lets nothing through but a review
    "audit_heads": {"SELECT", "INSERT", "UPDATE"},  # a chain only grows
    "audit_logs": {"SELECT", "INSERT"},  # history
    "data_access_logs": {"SELECT", "INSERT"},  # history
    "person_keys": {"SELECT", "INSERT", "UPDATE"},  # emptied, never forgotten: it must not be made anew
    "alembic_version": {"SELECT"},  # serve compares it with the code
    "credential_versions": {"SELECT", "INSERT", "UPDATE"},  # it is there for as long as its tenant
    "events": {"SELECT", "INSERT", "DELETE"},  # retention deletes, nobody rewrites
    "governance_versions": {"SELECT", "INSERT", "DELETE"},  # history; it goes with its tenant
    "leases": set(),  # the platform role's
    "stream_epoch": {"SELECT"},  # new-epoch is the owner's
    "stream_floors": {"SELECT", "INSERT", "UPDATE"},  # a tenant's floor only rises
    "structure_events": {"SELECT", "INSERT"},  # history
    "tenant_streams": {"SELECT", "INSERT", "UPDATE"},  # a tenant's counter only rises
    "tenants": {"SELECT", "INSERT", "UPDATE"},  # a tenant is marked deleted
}

BEAT: Final = (
    "active_tasks current_task heartbeat_due_at last_error_rate last_heartbeat_at last_sample_error runtime_state "
    "uptime_seconds"
)

ACROSS_TENANTS: Final = {
    (INGEST, "workspaces", "SELECT"): f"{BEAT} heartbeat_ttl_seconds id lease_epoch status tenant_id",
    (INGEST, "workspaces", "UPDATE"): BEAT,
    (PLATFORM, "activity_logs", "SELECT"): "created_at tenant_id",
    (PLATFORM, "approval_requests", "SELECT"): "id next_at tenant_id",
    (PLATFORM, "alerts", "SELECT"): "analysis_lease_expires_at escalate_at id tenant_id",
    (PLATFORM, "conversations", "SELECT"): "tenant_id updated_at",
    (PLATFORM, "audit_heads", "SELECT"): "*",
    (PLATFORM, "retention_rules", "SELECT"): "*",
    (PLATFORM, "forgotten_secrets", "SELECT"): "tenant_id updated_at",
    (PLATFORM, "events", "SELECT"): "occurred_at seq tenant_id",
    (PLATFORM, "idempotency_keys", "SELECT"): "created_at tenant_id",
    (PLATFORM, "leases", "DELETE"): "*",
    (PLATFORM, "leases", "INSERT"): "*",
    (PLATFORM, "leases", "SELECT"): "*",
    (PLATFORM, "leases", "UPDATE"): "*",
    (PLATFORM, "one_time_tokens", "SELECT"): "expires_at tenant_id",
    (PLATFORM, "outgoing_mails", "SELECT"): "due_at tenant_id",
    (PLATFORM, "sessions", "SELECT"): "started_at tenant_id",
    (PLATFORM, "sign_in_failures", "SELECT"): "failed_at tenant_id",
    (PLATFORM, "stream_floors", "SELECT"): "*",
    (PLATFORM, "tenant_streams", "SELECT"): "*",
    (PLATFORM, "tenants", "SELECT"): "*",
    (PLATFORM, "webhook_deliveries", "SELECT"): "endpoint_id expires_at next_attempt_at state tenant_id",
    (PLATFORM, "webhook_endpoints", "SELECT"): "cursor id is_enabled tenant_id",
    (PLATFORM, "workspaces", "SELECT"): "heartbeat_due_at id status tenant_id",
    (SEARCH, "agents", "SELECT"): "id search tenant_id",
    (SEARCH, "approval_requests", "SELECT"): "id search tenant_id",
    (SEARCH, "alert_series", "SELECT"): "alert_name id instance job tenant_id",
    (SEARCH, "contacts", "SELECT"): "id search tenant_id",
    (SEARCH, "conversations", "SELECT"): "id search tenant_id",
    (SEARCH, "messages", "SELECT"): "id search tenant_id",
    (SEARCH, "tenants", "SELECT"): "deleted_at id slug status",
    (SEARCH, "users", "SELECT"): "id search tenant_id",
    (SEARCH, "workspaces", "SELECT"): "id search tenant_id",
    (TAIL, "credential_versions", "SELECT"): "*",
    (TAIL, "stream_epoch", "SELECT"): "*",
    (TAIL, "stream_floors", "SELECT"): "*",
    (TAIL, "tenant_streams", "SELECT"): "*",
}
"""What the roles may see and write that no tenant binds; * is the whole table."""

OPEN_TO_ALL: Final = {"stream_epoch": "it holds nothing of any tenant"}

GLOBAL_KEYS: Final = {
    "pk_tenants": "the tenant's own id",
    "uq_tenants_slug": "a slug is what sign-in starts from, so it is one tenant's in all the world",
    "uq_tenants_source_ref": "written by imports, which the owner runs",
}

INSERT_ONLY: Final = {"audit_checkpoints", "audit_logs", "data_access_logs", "structure_events"}


def _named(numbers: str, table: str) -> str:
    return (
        "coalesce((SELECT array_agg(a.attname::text ORDER BY k.place) "
        f"FROM unnest({numbers}) WITH ORDINALITY AS k (number, place) "
        f"JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number), '{{}}')"
    )


_TABLES: Final = (
    "SELECT oid, relname::text AS name, relrowsecurity AND relforcerowsecurity AS is_forced, relowner FROM pg_class "
    "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
)
_MONTHS: Final = _TABLES.replace("NOT relispartition", "relispartition")
_PRIVILEGES: Final = f"""
SELECT t.name, g.grantee::regrole::text AS role, g.privilege_type AS privilege, '*' AS part
  FROM ({_TABLES}) t JOIN pg_class c ON c.oid = t.oid, aclexplode(c.relacl) g
UNION ALL
SELECT t.name, g.grantee::regrole::text, g.privilege_type, a.attname::text
  FROM ({_TABLES}) t JOIN pg_attribute a ON a.attrelid = t.oid, aclexplode(a.attacl) g
"""
_POLICIES: Final = f"""
SELECT t.name, r.rolname::text AS role, p.polcmd::text AS command, p.polpermissive AS is_permissive,
  pg_get_expr(p.polqual, t.oid) AS sees, pg_get_expr(p.polwithcheck, t.oid) AS writes
FROM ({_TABLES}) t JOIN pg_policy p ON p.polrelid = t.oid
CROSS JOIN unnest(p.polroles) AS named (role) LEFT JOIN pg_roles r ON r.oid = named.role
"""
_CONSTRAINTS: Final = f"""
SELECT t.name, c.conname::text AS key, c.contype::text AS kind, c.confrelid::regclass::text AS parent,
  c.confdeltype::text AS on_delete, {_named("c.conkey", "c.conrelid")} AS columns,
  {_named("c.confkey", "c.confrelid")} AS parent_columns, {_named("c.confdelsetcols", "c.conrelid")} AS emptied
FROM ({_TABLES}) t JOIN pg_constraint c ON c.conrelid = t.oid
"""
_INDEXES: Final = f"""
SELECT t.name, i.indexrelid::regclass::text AS index, i.indisunique AS is_unique, i.indpred IS NOT NULL AS is_partial,
  {_named("i.indkey", "i.indrelid")} AS columns
FROM ({_TABLES}) t JOIN pg_index i ON i.indrelid = t.oid
"""
_COLUMNS: Final = f"""
SELECT t.name, a.attname::text AS column, a.attnotnull AS is_required, y.typname::text AS type, y.typtype::text AS kind
FROM ({_TABLES}) t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type y ON y.oid = a.atttypid
"""
_DRAWN: Final = f"""
SELECT t.name || ' ' || pg_get_constraintdef(c.oid) || ' ' || c.conname
  FROM ({_TABLES}) t JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype <> 't' -- triggers are no model's
UNION ALL SELECT t.name || ' ' || pg_get_indexdef(i.indexrelid) FROM ({_TABLES}) t JOIN pg_index i ON i.indrelid = t.oid
UNION ALL
SELECT concat_ws(' ', t.name, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
    pg_get_expr(d.adbin, d.adrelid))
  FROM ({_TABLES}) t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
"""
_FUNCTIONS: Final = """
SELECT p.proname::text AS name, p.proowner::regrole::text AS owner, p.prosecdef AS is_definer, p.proconfig AS settings,
  ARRAY(SELECT g.grantee::regrole::text FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g) AS callers
FROM pg_proc p WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""


async def _rows(owner: AsyncEngine, statement: str) -> list[Any]:
    async with owner.connect() as connection:
        return list(await connection.execute(text(statement)))


async def _tables(owner: AsyncEngine) -> set[str]:
    found = {row.name for row in await _rows(owner, _TABLES)}
    assert {"tenants", "users", "workspaces", "events"} <= found
    return found


async def test_the_models_are_what_the_migrations_make(owner: AsyncEngine) -> None:
    assert await differences(owner) == []


async def test_the_models_alone_would_make_the_same_columns_checks_and_indexes(
    owner: AsyncEngine, migrated: str
) -> None:
    # alembic compares neither checks nor the conditions of partial indexes nor what a column is computed from.
    drawn = make_url(role_url(migrated, OWNER)).set(database="drawn")
    server = create_async_engine(migrated, isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.exec_driver_sql(f"CREATE DATABASE drawn OWNER {OWNER}")
    engine = create_async_engine(drawn)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    made = {row[0] for row in await _rows(engine, _DRAWN)}
    await engine.dispose()
    async with server.connect() as connection:
        await connection.exec_driver_sql("DROP DATABASE drawn")
    await server.dispose()
    assert len(made) > 200
    assert {row[0] for row in await _rows(owner, _DRAWN) if not row[0].startswith("alembic_version")} == made


async def test_every_table_forces_row_level_security(owner: AsyncEngine) -> None:
    assert {row.name for row in await _rows(owner, _TABLES) if not row.is_forced} == set(WITHOUT_PROTECTION)


async def test_every_privilege_has_a_policy_that_names_its_role(owner: AsyncEngine) -> None:
    commands = {"*": FULL, "r": {"SELECT"}, "a": {"INSERT"}, "w": {"UPDATE"}, "d": {"DELETE"}}
    policies = await _rows(owner, _POLICIES)
    # A policy for PUBLIC has no role here.
    assert {row.role for row in policies} <= set(ROLES)
    assert all(row.is_permissive for row in policies)
    covered = {(row.name, row.role, one) for row in policies for one in commands[row.command]}
    privileges = await _rows(owner, _PRIVILEGES)
    granted = {
        (row.name, row.role, row.privilege)
        for row in privileges
        if row.name not in WITHOUT_PROTECTION and row.privilege in FULL
    }
    assert granted - covered == set()
    assert {(row.name, row.role) for row in policies} - {(row.name, row.role) for row in privileges} == set()


async def test_the_serving_role_sees_and_writes_the_bound_tenant_only(owner: AsyncEngine) -> None:
    found: dict[str, list[tuple[str | None, str | None]]] = {}
    for row in await _rows(owner, _POLICIES):
        if row.role == APP:
            sees = " ".join(row.sees.split()) if row.sees is not None else None
            found.setdefault(row.name, []).append((sees, row.writes))
    bound = "( SELECT (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid AS \"nullif\")"
    expected: dict[str, list[tuple[str | None, str | None]]] = {}
    for table in (
        await _tables(owner) - {name for name, may in APP_MAY_LESS.items() if not may} - set(WITHOUT_PROTECTION)
    ):
        column = "id" if table == "tenants" else "tenant_id"
        mine = "true" if table in OPEN_TO_ALL else f"({column} = {bound})"
        bound_at_all = "(current_setting('app.tenant_id'::text, true) <> ''::text)"
        shared = f"( SELECT '{PLATFORM_TENANT_ID}'::uuid AS uuid WHERE {bound_at_all})"
        both = f"(tenant_id = ANY (ARRAY[{bound}, {shared}]))"
        # Of the shared ones: SELECT, INSERT, UPDATE, DELETE.
        apart = [(both, None), (None, mine), (mine, mine), (mine, None)]
        expected[table] = apart if table in SHARED else [(mine, mine)]
    assert {table: sorted(rules, key=str) for table, rules in found.items()} == {
        table: sorted(rules, key=str) for table, rules in expected.items()
    }


async def test_every_row_belongs_to_a_tenant(owner: AsyncEngine) -> None:
    required = {row.name for row in await _rows(owner, _COLUMNS) if row.column == "tenant_id" and row.is_required}
    assert await _tables(owner) - required == set(WITHOUT_TENANT)
    optional = {row.name for row in await _rows(owner, _COLUMNS) if row.column == "tenant_id"} - required
    assert optional == set()


async def test_every_key_leads_with_the_tenant(owner: AsyncEngine) -> None:
    keyed = {row.name for row in await _rows(owner, _CONSTRAINTS) if row.kind == "p"}
    assert await _tables(owner) - keyed == set()
    loose = {
        row.index
        for row in await _rows(owner, _INDEXES)
        if row.is_unique and row.columns[:1] != ["tenant_id"] and row.name not in set(WITHOUT_TENANT) - {"tenants"}
    }
    assert loose == set(GLOBAL_KEYS)


async def test_every_foreign_key_carries_the_tenant_and_empties_nothing_else(owner: AsyncEngine) -> None:
    keys = [row for row in await _rows(owner, _CONSTRAINTS) if row.kind == "f"]
    assert len(keys) > 10
    for row in keys:
        if row.parent == "tenants":
            assert (row.columns, row.parent_columns) == (["tenant_id"], ["id"]), row.key
            assert row.on_delete == "a", row.key
            continue
        assert row.columns[0] == "tenant_id", row.key
        assert row.parent_columns == ["tenant_id", "id"], row.key
        assert row.on_delete != "d", row.key
        assert row.emptied == (row.columns[1:] if row.on_delete == "n" else []), row.key


async def test_every_table_with_a_tenant_refers_to_it(owner: AsyncEngine) -> None:
    parents: dict[str, set[str]] = {}
    for row in await _rows(owner, _CONSTRAINTS):
        if row.kind == "f":
            parents.setdefault(row.name, set()).add(row.parent)
    # Through a parent of the same tenant is as good: that parent cannot exist without the tenant.
    orphans = {table for table in await _tables(owner) - set(WITHOUT_TENANT) if not parents.get(table)}
    assert orphans == set(WITHOUT_PARENT)


async def test_every_foreign_key_is_indexed(owner: AsyncEngine) -> None:
    indexes = [row for row in await _rows(owner, _INDEXES) if not row.is_partial]
    bare = {
        row.key
        for row in await _rows(owner, _CONSTRAINTS)
        if row.kind == "f"
        and not any(one.name == row.name and one.columns[: len(row.columns)] == row.columns for one in indexes)
    }
    assert bare == set()


async def test_no_column_is_a_native_enum(owner: AsyncEngine) -> None:
    columns = await _rows(owner, _COLUMNS)
    assert [f"{row.name}.{row.column}" for row in columns if row.kind == "e"] == []
    # text and bytes have no limits to outgrow, times know their zone.
    assert {row.type for row in columns} & {"varchar", "bpchar", "timestamp", "json", "money"} == {"varchar"}
    assert [f"{row.name}.{row.column}" for row in columns if row.type == "varchar"] == ["alembic_version.version_num"]


async def test_the_serving_role_may_what_the_list_says_and_no_more(owner: AsyncEngine) -> None:
    may: dict[str, set[str]] = {table: set() for table in await _tables(owner)}
    for row in await _rows(owner, _PRIVILEGES):
        if row.role == APP:
            assert row.part == "*"
            may[row.name].add(row.privilege)
    assert may == {table: APP_MAY_LESS.get(table, FULL) for table in await _tables(owner)}
    assert {table for table, rights in may.items() if rights == {"SELECT", "INSERT"}} == INSERT_ONLY


async def test_the_roles_that_no_tenant_binds_see_and_write_what_the_list_says_and_no_more(owner: AsyncEngine) -> None:
    parts: dict[tuple[str, str, str], list[str]] = {}
    for row in await _rows(owner, _PRIVILEGES):
        if row.role not in {APP, OWNER}:
            parts.setdefault((row.role, row.name, row.privilege), []).append(row.part)
    assert {key: sorted(found) for key, found in parts.items()} == {
        key: sorted(columns.split()) for key, columns in ACROSS_TENANTS.items()
    }


async def test_no_serving_role_owns_anything_or_can_get_around_the_rules(owner: AsyncEngine) -> None:
    roles = await _rows(
        owner,
        "SELECT rolname::text AS name, rolcanlogin, rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole "
        "OR rolreplication AS is_mighty, has_database_privilege(oid, current_database(), 'CREATE') AS makes_schemas, "
        "has_database_privilege(oid, current_database(), 'TEMPORARY') AS makes_temporary, "
        "has_schema_privilege(oid, 'public', 'CREATE') AS makes_tables, "
        "EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) AS is_member, "
        "EXISTS (SELECT FROM pg_shdepend d WHERE d.refobjid = r.oid AND d.deptype = 'o') AS is_owner "
        "FROM pg_roles r WHERE rolname LIKE 'signalbox%'",
    )
    assert {row.name for row in roles} == set(ROLES)
    assert not any(row.is_mighty for row in roles)
    assert {row.name for row in roles if row.is_owner} == {OWNER, SEARCH}
    assert {row.name for row in roles if row.is_member} == {OWNER}
    assert {row.name for row in roles if row.rolcanlogin} == set(ROLES) - {SEARCH}
    for right in ("makes_schemas", "makes_temporary", "makes_tables"):
        assert {row.name for row in roles if getattr(row, right)} & set(SERVING) == set(), right


async def test_only_named_functions_run_with_their_owners_rights(owner: AsyncEngine) -> None:
    definers = [row for row in await _rows(owner, _FUNCTIONS) if row.is_definer]
    assert {row.name for row in definers} == set(DEFINERS)
    assert len(definers) == len(DEFINERS)
    for row in definers:
        for_worker = row.name in OF_THE_WORKER
        assert row.owner == (OWNER if for_worker else SEARCH), row.name
        # Temporary tables last: unless it is named, that schema is searched before all others.
        assert row.settings == ["search_path=pg_catalog, public, pg_temp"], row.name
        assert set(row.callers) == ({OWNER, PLATFORM} if for_worker else {SEARCH, APP}), row.name


async def test_the_months_of_a_log_are_reached_through_the_log_alone(owner: AsyncEngine) -> None:
    months = await _rows(owner, _MONTHS)
    assert {row.name[:-8] for row in months} == {"audit_events", "audit_logs", "data_access_logs"}
    assert len(months) == 3 * 14
    assert all(row.is_forced for row in months)
    names = {row.name for row in months}
    privileges = await _rows(owner, _PRIVILEGES.replace(_TABLES, _MONTHS))
    assert {(row.name, row.role) for row in privileges} <= {(name, OWNER) for name in names}
    policies = await _rows(owner, _POLICIES.replace(_TABLES, _MONTHS))
    assert {(row.name, row.role) for row in policies} == {(name, OWNER) for name in names}


async def test_every_view_asks_with_the_rights_of_its_reader(owner: AsyncEngine) -> None:
    views = await _rows(
        owner,
        "SELECT relname::text AS name, relkind::text AS kind, coalesce(reloptions, '{}') AS options FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm', 'f')",
    )
    assert [row.name for row in views if row.kind != "v" or "security_invoker=true" not in row.options] == []


async def test_every_serving_role_has_its_time_limits(owner: AsyncEngine) -> None:
    limits = ["statement_timeout=5s", "lock_timeout=2s", "idle_in_transaction_session_timeout=10s"]
    roles = await _rows(owner, "SELECT rolname::text AS name, rolconfig FROM pg_roles WHERE rolname LIKE 'signalbox%'")
    assert {row.name: row.rolconfig for row in roles} == {role: limits if role in SERVING else None for role in ROLES}
