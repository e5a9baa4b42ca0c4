"""This module is where it is declared which terminal sessions are asked for and how they are sorted."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from strawberry import ID

from dataloaders.pages import Direction
from schema.declare import describe
from schema.inputs import form, optional, required


class TerminalSessionOrderField(StrEnum):
    """What terminal sessions can be sorted by."""

    STARTED_AT = "started_at"


describe(TerminalSessionOrderField, "What terminal sessions can be sorted by.", STARTED_AT="When it began.")


@form("Which terminal sessions; fields combine with and.")
class TerminalSessionFilter:
    """Filter of terminal sessions."""

    user_id: ID | None = optional("Of this person.", of="user")
    server_id: ID | None = optional("On this server.", of="server")
    alert_id: ID | None = optional("Because of this alert.", of="alert")
    is_open: bool | None = optional("Whether somebody is still there.")
    started_after: datetime | None = optional("Begun at this time or later.")
    started_before: datetime | None = optional("Begun before this time.")


@form("How terminal sessions are sorted; ties are broken by id.")
class TerminalSessionOrder:
    """Order of terminal sessions."""

    field: TerminalSessionOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")
