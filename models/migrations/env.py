"""This module is where alembic meets the database it is handed; it reads no configuration of its own."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

import models
from models.base import TextEnum


def render(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """A text enum is text to the database."""
    return "sa.Text()" if kind == "type" and isinstance(item, TextEnum) else False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=models.Base.metadata,
    compare_type=True,
    render_item=render,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
