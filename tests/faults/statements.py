"""This module is where PostgreSQL itself says which statements it was sent, by whom, and for what."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from models.roles import INGEST, SERVING

# role, process, then how the statement came (simple or extended protocol) and its first line.
_LINE: Final = re.compile(r"^(signalbox_\w+)\|(\d+)\|LOG:  (?:statement|execute [^:]*): (.*)$")
_ENDS: Final = ("COMMIT", "ROLLBACK")


async def log_statements(superuser_url: str) -> None:
    """Make the server log every statement of the serving roles; for connections made from now on."""
    engine = create_async_engine(superuser_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("ALTER SYSTEM SET log_line_prefix = '%u|%p|'"))
        await connection.execute(text("ALTER SYSTEM SET log_parameter_max_length = 0"))
        await connection.execute(text("SELECT pg_reload_conf()"))
        for role in SERVING:
            await connection.execute(text(f"ALTER ROLE {role} SET log_statement = 'all'"))
    await engine.dispose()


@dataclass(frozen=True, slots=True)
class Statements:
    """Statements of a span, counted by what their transaction was for: BEGIN and COMMIT count like any other."""

    by_purpose: Counter[str]

    @property
    def for_beats(self) -> int:
        """Storing beats and knowing their senders; changes of status, and what an idle gateway does, are apart."""
        return sum(self.by_purpose[purpose] for purpose in ("beats", "credentials", "answers"))


def read_statements(log: Path, start: int, end: int | None = None) -> Statements:
    """What stands in the server's log between two positions."""
    with log.open("rb") as file:
        file.seek(start)
        content = file.read() if end is None else file.read(end - start)
    return _sort(content.decode(errors="replace").splitlines())


def _sort(lines: Iterable[str]) -> Statements:
    counts: Counter[str] = Counter()
    open_now: dict[str, list[str]] = {}
    role, process = "", ""
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            if line.startswith("\t") and open_now.get(process):
                open_now[process][-1] += line  # a statement goes on
            continue
        role, process, statement = match.groups()
        if role == INGEST:
            counts["beats"] += 1
            continue
        transaction = open_now.setdefault(process, [])
        transaction.append(statement)
        is_single = len(transaction) == 1 and not statement.startswith("BEGIN")
        if statement.startswith(_ENDS) or (is_single and role != "signalbox_app"):
            counts[_purpose(role, " ".join(transaction))] += len(transaction)
            open_now[process] = []
    return Statements(counts)


def _purpose(role: str, transaction: str) -> str:
    if "credential_version" in transaction:
        return "credentials"
    if role != "signalbox_app":
        return "housekeeping"
    if "tenant_streams" in transaction:
        return "changes"
    if "api_keys" in transaction:
        return "credentials"
    if "FROM workspaces" in transaction:
        return "answers"
    return "other"
