"""This module is where a database is brought to the expected schema, and told from one that is not there yet."""

from __future__ import annotations

import re
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from models.base import Base
from models.months import BY_MONTH
from models.roles import create_roles

# Any constant will do; concurrent migrations wait for each other on it until their transaction ends.
_MIGRATION_LOCK = 0x5167_0A1B
_MONTH = re.compile(rf"({'|'.join(BY_MONTH)})_\d{{4}}_\d{{2}}")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def expected_revision() -> str:
    """The revision this code was written for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


async def migrate(owner: AsyncEngine) -> None:
    """Upgrade to the newest revision; waits for a migration that is under way. Commits."""

    def upgrade(connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        command.upgrade(_config(connection), "head")

    async with owner.begin() as connection:
        await connection.run_sync(upgrade)


async def revision_of(engine: AsyncEngine) -> str | None:
    """The revision the database stands at, None when it was never migrated."""
    async with engine.connect() as connection:
        exists = await connection.scalar(text("SELECT to_regclass('public.alembic_version') IS NOT NULL"))
        if not exists:
            return None
        revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


async def differences(owner: AsyncEngine) -> list[object]:
    """What the models say and the migrated database does not (alembic's own comparison)."""

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_modelled})
        return list(compare_metadata(context, Base.metadata))

    async with owner.connect() as connection:
        return await connection.run_sync(compare)


def _is_modelled(name: str | None, kind: str, _: object) -> bool:
    # A log's months are made by the worker; their log is what is modelled.
    return kind != "table" or _MONTH.fullmatch(name or "") is None


async def ensure_roles(superuser: AsyncEngine, database: str) -> None:
    """Make the roles, whatever is already there. Commits."""
    async with superuser.begin() as connection:
        for statement in create_roles(database):
            await connection.exec_driver_sql(statement)
