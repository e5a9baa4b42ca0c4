"""This module is where row-level security and grants are written, once, for every table's migration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from models.roles import APP, INGEST, OWNER, PLATFORM, SEARCH, TAIL
from models.tenants import PLATFORM_TENANT_ID

# The sub-select makes it an InitPlan, evaluated once; after one transaction the unset GUC is '', not NULL.
CURRENT_TENANT: Final = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"


def protect(
    table: str,
    *,
    app: str = "SELECT, INSERT, UPDATE, DELETE",
    column: str = "tenant_id",
    shared: bool = False,
    others: Iterable[tuple[str, str, str]] = (),
) -> list[str]:
    """Statements that force RLS on ``table`` and grant ``app`` to the serving role.

    ``shared``: rows of the reserved tenant are readable by all, writable by none but itself.
    ``others``: (role, command, grant) for the roles that see all tenants, each with a policy of its own, e.g.
    ``("signalbox_platform", "SELECT", "SELECT (tenant_id, id)")``.
    """
    mine = f"{column} = {CURRENT_TENANT}"
    statements = [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY owner ON {table} TO {OWNER} USING (true) WITH CHECK (true)",
        *(_shared(table, column, mine) if shared else [_own(table, mine)]),
        f"GRANT {app} ON {table} TO {APP}",
    ]
    for role, command, grant in others:
        check = " WITH CHECK (true)" if command in {"UPDATE", "INSERT", "ALL"} else ""
        using = "" if command == "INSERT" else " USING (true)"
        name = f"{role.removeprefix('signalbox_')}_{command.lower()}"
        statements += [
            f"CREATE POLICY {name} ON {table} FOR {command} TO {role}{using}{check}",
            f"GRANT {grant} ON {table} TO {role}",
        ]
    return statements


def _own(table: str, mine: str) -> str:
    return f"CREATE POLICY tenant ON {table} TO {APP} USING ({mine}) WITH CHECK ({mine})"


def _shared(table: str, column: str, mine: str) -> list[str]:
    # Who is bound to no tenant reads nothing, not even what all share.
    everybodys = f"(SELECT '{PLATFORM_TENANT_ID}'::uuid WHERE current_setting('app.tenant_id', true) <> '')"
    theirs = f"{column} IN ({CURRENT_TENANT}, {everybodys})"
    # One policy a command: two would be joined by OR, over which a list is not read in the index's order.
    return [
        f"CREATE POLICY shared_select ON {table} FOR SELECT TO {APP} USING ({theirs})",
        f"CREATE POLICY tenant_insert ON {table} FOR INSERT TO {APP} WITH CHECK ({mine})",
        f"CREATE POLICY tenant_update ON {table} FOR UPDATE TO {APP} USING ({mine}) WITH CHECK ({mine})",
        f"CREATE POLICY tenant_delete ON {table} FOR DELETE TO {APP} USING ({mine})",
    ]


__all__ = ["APP", "CURRENT_TENANT", "INGEST", "OWNER", "PLATFORM", "SEARCH", "TAIL", "protect"]
