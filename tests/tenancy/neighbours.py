"""This module is where two tenants move in next to each other, and where each layer between them is taken away."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from models.database import Database, DatabaseUrls, PoolOptions
from models.ids import parse, suffix
from models.reads import Read
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.test_nodes import settle
from tests.world import AUDIT, make_tenant, principal, running

_TENANT_FILTER: Final = re.compile(r"\b(?:\w+\.)?tenant_id = \$(\d+)(?:::UUID)?")
_MARKED: Final = {
    "users": ("display_name", "username", "department"),
    "workspaces": ("name", "role"),
    "agents": ("name", "title", "domain"),
    "agent_templates": ("name", "description", "category"),
    "llm_providers": ("name", "model_id"),
    "mcp_servers": ("name", "description"),
    "tools": ("name", "description"),
    "api_keys": ("name", "prefix"),
    "secrets": ("key",),
    "user_consents": ("consent_type",),
    "identity_providers": ("client_id",),
    "contacts": ("name", "external_id"),
    "conversations": ("title", "summary", "department"),
    "messages": ("content", "sanitized_content", "model_used"),
    "agent_runs": ("agent_name",),
    "approval_requests": (
        "agent_name",
        "user_department",
        "original_query",
        "proposed_response",
        "escalation_reason",
        "reviewer_notes",
    ),
    "policy_rules": ("name", "description", "escalation_reason"),
    "prohibited_topics": ("topic",),
    "governance_versions": ("description",),
    "query_events": ("query_text", "response_text", "agent_name", "department", "error_message"),
    "servers": ("name", "hostname", "username", "environment"),
    "terminal_sessions": ("server_name", "recording_path"),
    "tool_executions": ("tool_name", "server_name", "error_message"),
    "alerts": ("alert_name", "instance", "job", "ai_analysis"),
    "alert_rules": ("name", "description"),
    "tenants": ("name", "contact_email"),
    "activity_logs": ("method", "summary", "error_detail"),
    "agent_assignments": ("model", "removal_reason"),
    "webhook_endpoints": ("url", "description"),
}
_TABLES: Final = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A tenant that has one row of everything, with the ids and words that must never be seen next door."""

    id: UUID
    ids: dict[str, str]
    mark: str

    def who(self, **given: Any) -> Principal:
        """Somebody of this tenant; an admin when nothing is said."""
        return principal(self.id, **({"user_id": parse(self.ids["user"], "user")} | given))

    @property
    def traces(self) -> frozenset[str]:
        """What gives the tenant away in an answer."""
        suffixes = {one.rpartition("_")[2] for one in self.ids.values()} | {suffix(self.id), str(self.id)}
        return frozenset(suffixes | {self.mark})


async def move_in(gateway: Gateway, owner: AsyncEngine) -> Neighbour:
    """A new tenant, furnished; every word in it carries its mark."""
    tenant_id = await make_tenant(gateway.services.database)
    ids = await settle(gateway, tenant_id)
    mark = f"canary{tenant_id.hex}"
    async with owner.begin() as connection:
        for table, columns in _MARKED.items():
            key = "id" if table == "tenants" else "tenant_id"
            words = ", ".join(f"{one} = '{mark}'" for one in columns)
            await connection.execute(text(f"UPDATE {table} SET {words} WHERE {key} = :tenant"), {"tenant": tenant_id})
    return Neighbour(tenant_id, ids, mark)


async def fingerprint(owner: AsyncEngine, tenant_id: UUID) -> dict[str, str]:
    """A hash of all of a tenant's rows, table by table."""
    found: dict[str, str] = {}
    async with owner.connect() as connection:
        for table in list(await connection.scalars(text(_TABLES))):
            rows = (
                f"SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {table} t WHERE t.tenant_id = :tenant"
            )
            found[table] = await connection.scalar(text(rows), {"tenant": tenant_id}) or ""
        row = await connection.scalar(
            text("SELECT md5(t::text) FROM tenants t WHERE id = :tenant"), {"tenant": tenant_id}
        )
        found["tenants"] = row or ""
    return found


def without_filter(statement: str) -> str:
    """The statement as it would be, had nobody thought of the tenant."""
    return _TENANT_FILTER.sub(r"($\1::UUID IS NOT NULL)", statement)


@contextmanager
def filters_removed(database: Database) -> Iterator[list[int]]:
    """Every statement of the serving role loses its tenant; yields a counter of how many did."""
    removed = [0]
    compiled: dict[Read[Any], str] = {}
    rows = Read.rows

    def rewrite(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        changed = without_filter(statement)
        removed[0] += changed != statement
        return changed, parameters

    async def rows_of_all(self: Read[Any], at: Database, tenant_id: UUID, **values: Any) -> list[Any]:
        if self not in compiled:
            if not self._sql:
                self._compile(at)
            compiled[self], self._sql = self._sql, without_filter(self._sql)
            removed[0] += compiled[self] != self._sql
        return await rows(self, at, tenant_id, **values)

    event.listen(database.app.sync_engine, "before_cursor_execute", rewrite, retval=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Read, "rows", rows_of_all)
        try:
            yield removed
        finally:
            event.remove(database.app.sync_engine, "before_cursor_execute", rewrite)
            for read, sql in compiled.items():
                read._sql = sql


@asynccontextmanager
async def serving(migrated: str, *, filtered: bool, protected: bool, size: int = 10) -> AsyncIterator[Gateway]:
    """A gateway over its own pools, with both layers, one, or none.

    Unprotected it connects as a superuser, whom row-level security does not bind.
    """
    urls = DatabaseUrls.for_roles(migrated)
    if not protected:
        urls = replace(urls, app=make_url(migrated).render_as_string(hide_password=False))
    database = Database(urls, PoolOptions(size=size), AUDIT)
    try:
        async with running(database) as services:
            if filtered:
                yield Gateway(services)
            else:
                with filters_removed(database):
                    yield Gateway(services)
    finally:
        await database.close()
