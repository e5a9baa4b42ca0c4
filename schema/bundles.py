"""This module is where bundles are seen from outside: trees of workspaces and agents as documents, without secrets."""

from __future__ import annotations

from typing import Any

from strawberry import ID

from models import Scope, Workspace
from models.errors import Refusal
from models.ids import parse
from resolvers import bundles as use_cases
from resolvers.call import Call
from schema.commands import Answer, UserError, command
from schema.common import JSON
from schema.declare import Argument, column, computed, part, root_fields
from schema.inputs import form, optional, required
from schema.registry import WorkspacePayload


@part("A tree of workspaces with their agents as one document, without secrets.")
class WorkspaceBundle:
    """What exportBundle says."""

    bundle_id: ID | None = column("The bundle's own id; what is made of it keeps it as sourceBundleId.")
    workspace_count: int | None = column("How many workspaces are in it.")
    agent_count: int | None = column("How many agents are in it.")
    bundle: JSON | None = column("The document; importBundle takes it as it is.")
    user_errors: list[UserError] = column("Why there is none: NOT_FOUND, LIMIT_EXCEEDED for more than 100 workspaces.")


@form("A bundle to bring to life.")
class ImportBundleInput:
    """Input of importBundle."""

    bundle: JSON = required("What exportBundle gave, or what is written like it.")
    parent_id: ID | None = optional("Where its root goes; to the root when absent.", of="workspace")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


_FIELDS = ["bundle_id", "workspace_count", "agent_count", "bundle"]


async def _export(_: Any, call: Call, id: str) -> Answer:
    try:
        made = await use_cases.export_bundle(call, parse(id, Workspace.__typeid__))
    except Refusal as refusal:
        return Answer(_FIELDS, None, [refusal])
    return Answer(_FIELDS, made, [])


@root_fields
class BundleQueries:
    """Root fields over bundles."""

    export_bundle: WorkspaceBundle | None = computed(
        _export,
        "A workspace and all that is below it, at most 100, as a document: names, roles, cards, layouts and agents. "
        "No secrets, no addresses; what is called as secrets are is left out of configurations.",
        [Argument("id", ID, "The workspace's TypeID.")],
        scope=Scope.AGENTS_READ,
        cost=20,
    )


@root_fields
class BundleMutations:
    """What can be done with bundles."""

    import_bundle: WorkspacePayload | None = command(
        use_cases.import_bundle,
        "Makes a bundle's workspaces and agents with new ids, all of them or none; answers with their root. Its agents "
        "are PENDING until somebody decides about them.",
        input=ImportBundleInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
        cost=20,
    )
