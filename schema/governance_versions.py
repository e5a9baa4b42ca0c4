"""This module is where the history of policies is seen from outside, compared, and taken back."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import models
from dataloaders.governance import governance_versions, snapshots_by_id
from dataloaders.pages import Direction
from models import Scope
from resolvers import governance_rollback as use_cases
from resolvers.call import Call
from resolvers.governance_versions import DifferenceKind, difference
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import Argument, column, computed, describe, node, part, related, root_fields, to_one
from schema.inputs import form, optional, required
from schema.users import User

describe(
    DifferenceKind,
    "What became of a rule or a topic.",
    ADDED="It is new.",
    REMOVED="It is gone.",
    CHANGED="It says something else.",
)


class GovernanceVersionOrderField(StrEnum):
    """What versions can be sorted by."""

    VERSION = "version_no"


describe(GovernanceVersionOrderField, "What versions can be sorted by.", VERSION="Its number, which is its time.")


@node(
    models.GovernanceVersion,
    "All rules and prohibited topics of the tenant as they were after one change. It is never changed itself.",
    scope=Scope.GOVERNANCE_HISTORY_READ,
)
class GovernanceVersion(Node):
    """GraphQL type of models.GovernanceVersion."""

    version: int = column("Its number in the tenant, counted from 1 without gaps.", "version_no")
    description: str = column("What the change was, or what it was for.")
    rules_snapshot: JSON | None = related(snapshots_by_id, "All that was said: rules and topics, each whole.", cost=40)
    changed_by: User | None = to_one(models.User, "Who changed it; null for a key and the gateway.", "changed_by")
    created_at: datetime = column("When it was committed.")


@part("One field that differs.")
class FieldDifference:
    """Part of a difference."""

    field: str = column("Its name.")
    before: JSON | None = column("What it was; null where there was nothing.")
    after: JSON | None = column("What it is; null where there is nothing.")


@part("One rule or prohibited topic that differs.")
class EntryDifference:
    """Part of a difference."""

    entry_id: ID = column("Which one it is, also when it is gone.")
    name: str = column("What it is called, or the topic itself.")
    kind: DifferenceKind = column("What became of it.")
    fields: list[FieldDifference] = column("What differs; of one that is new or gone, all that it says.")


@part("What differs between two versions.")
class GovernanceDifference:
    """Answer of governanceDifference."""

    from_version: int = column("The one before.")
    to_version: int = column("The one after.")
    rules: list[EntryDifference] = column("The rules that differ.")
    topics: list[EntryDifference] = column("The prohibited topics that differ.")


@form("Which versions.")
class GovernanceVersionFilter:
    """Filter of versions."""

    changed_by: ID | None = optional("Made by this person.", of="user")


@form("How versions are sorted.")
class GovernanceVersionOrder:
    """Order of versions."""

    field: GovernanceVersionOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("Which version comes back.")
class RollbackGovernanceInput:
    """Input of rollbackGovernance."""

    version: int = required("Its number.")
    note: str | None = optional("Why, one line of at most 500 characters; kept with the new version.")
    expected_version: int | None = optional("Refuse when this is no longer the newest version.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@payload("The version that a rollback made.")
class RollbackGovernancePayload:
    """Payload of rollbackGovernance."""

    governance_version: GovernanceVersion | None = column("The new version; on CONFLICT the newest.")
    user_errors: list[UserError] = user_errors()


async def _difference(_: Any, call: Call, from_version: int, to_version: int) -> Any:
    return await difference(call, from_version, to_version)


@root_fields
class GovernanceVersionQueries:
    """Root fields over the history of policies."""

    governance_versions: Connection[GovernanceVersion] | None = connection(
        governance_versions,
        "The versions of the tenant's policies, newest first.",
        filter=GovernanceVersionFilter,
        order=GovernanceVersionOrder,
    )
    governance_version: GovernanceVersion | None = found(models.GovernanceVersion, "One version.")
    governance_difference: GovernanceDifference | None = computed(
        _difference,
        "What differs between two versions; null when one of them is not there.",
        [
            Argument("from_version", int, "The number of the one before; 0 is before the first."),
            Argument("to_version", int, "The number of the one after."),
        ],
        scope=Scope.GOVERNANCE_HISTORY_READ,
        cost=100,
    )


@root_fields
class GovernanceVersionMutations:
    """What can be done with the history of policies."""

    rollback_governance: RollbackGovernancePayload | None = command(
        use_cases.rollback_governance,
        "Makes rules and prohibited topics what they were in a version, as a new version. Rules that nobody may change "
        "stay as they are; a version with something that could not be stored today is refused by its name.",
        input=RollbackGovernanceInput,
        payload=RollbackGovernancePayload,
        scope=Scope.POLICIES_WRITE,
        cost=100,
    )
