"""This module is where the database roles are defined: who serves, who migrates, who may see across tenants."""

from __future__ import annotations

from typing import Final

OWNER: Final = "signalbox_owner"
APP: Final = "signalbox_app"
INGEST: Final = "signalbox_ingest"
TAIL: Final = "signalbox_tail"
PLATFORM: Final = "signalbox_platform"
SEARCH: Final = "signalbox_search"

SERVING: Final = (APP, INGEST, TAIL, PLATFORM)
ROLES: Final = (OWNER, *SERVING, SEARCH)

_TIMEOUTS: Final = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}


def create_roles(database: str) -> list[str]:
    """Idempotent statements a superuser runs once in ``database``; passwords are the operator's to set."""
    statements = []
    for role in ROLES:
        login = "NOLOGIN" if role == SEARCH else "LOGIN"
        rights = f"{login} NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION"
        statements.append(
            f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        statements.append(f"ALTER ROLE {role} {rights}")
    statements += [f"ALTER ROLE {role} SET {name} = '{value}'" for role in SERVING for name, value in _TIMEOUTS.items()]
    statements += [
        f"GRANT {SEARCH} TO {OWNER}",
        # Nobody serves from temporary tables, and a SECURITY DEFINER function must never meet one.
        f'REVOKE TEMPORARY ON DATABASE "{database}" FROM PUBLIC',
        f'GRANT ALL ON DATABASE "{database}" TO {OWNER}',
        f'GRANT CONNECT ON DATABASE "{database}" TO {", ".join(SERVING)}',
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}, {SEARCH}",
        f"GRANT USAGE ON SCHEMA public TO {', '.join(SERVING)}",
    ]
    return statements
