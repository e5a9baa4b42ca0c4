"""This module is where tests of the fleet's places get workspaces, agents and machines."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from models import Agent, AgentType, Workspace, WorkspaceStatus
from models.ids import encode, parse, uuid7
from models.scopes import WORKSPACE_TOKEN_SCOPES
from resolvers.principal import Principal
from tests.schema.conftest import Gateway

CREATE = """mutation($input: CreateWorkspaceInput!) { createWorkspace(input: $input) {
  workspace { id version } userErrors { code message field } } }"""
UPDATE = """mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) {
  workspace { id version agentCard forwardedTo { id } } userErrors { code message field } } }"""
ASSIGN = """mutation($input: AssignAgentInput!) { assignAgent(input: $input) {
  workspace { id agents { id } } userErrors { code message field } } }"""


def machine(tenant_id: UUID, workspace: str) -> Principal:
    """What a workspace's own token is."""
    return Principal(
        tenant_id=tenant_id,
        scopes=WORKSPACE_TOKEN_SCOPES,
        api_key_id=uuid7(),
        workspace_id=parse(workspace, "workspace"),
    )


async def place(gateway: Gateway, who: Principal, name: str = "Place", parent: str | None = None, **said: Any) -> str:
    """A new workspace's id."""
    given = {"name": name, **({"parentId": parent} if parent else {}), **said}
    made = (await gateway.data(who, CREATE, input=given))["createWorkspace"]
    assert made["userErrors"] == []
    return str(made["workspace"]["id"])


async def update(gateway: Gateway, who: Principal, id: str, version: int = 1, **said: Any) -> dict[str, Any]:
    """The payload of updateWorkspace."""
    given = {"id": id, "expectedVersion": version, **said}
    answer: dict[str, Any] = (await gateway.data(who, UPDATE, input=given))["updateWorkspace"]
    return answer


async def rows(gateway: Gateway, tenant_id: UUID, count: int, **said: Any) -> list[str]:
    """Workspaces put straight into the database, which works without their use cases; their ids."""
    made = [Workspace(tenant_id=tenant_id, id=uuid7(), name=f"row {number:04}", **said) for number in range(count)]
    ids = [encode("workspace", one.id) for one in made]
    async with gateway.services.database.session(tenant_id) as session:
        session.add_all(made)
        await session.commit()
    return ids


async def changed(gateway: Gateway, tenant_id: UUID, id: str, **said: Any) -> None:
    """Make a workspace's row say so, past all use cases."""
    async with gateway.services.database.session(tenant_id) as session:
        row = await session.get_one(Workspace, (tenant_id, parse(id, "workspace")))
        for name, value in said.items():
            setattr(row, name, value)
        await session.commit()


async def online(gateway: Gateway, tenant_id: UUID, id: str) -> None:
    """Make a workspace run somewhere."""
    await changed(gateway, tenant_id, id, status=WorkspaceStatus.ONLINE, url=f"https://{id[-8:]}.example")


async def agent(gateway: Gateway, tenant_id: UUID, name: str = "agent", **said: Any) -> str:
    """A new agent's id."""
    made = Agent(tenant_id=tenant_id, id=uuid7(), name=name, type=AgentType.LLM, model="gpt-4o", **said)
    id = encode("agent", made.id)
    async with gateway.services.database.session(tenant_id) as session:
        session.add(made)
        await session.commit()
    return id


async def assign(gateway: Gateway, who: Principal, workspace: str, agent: str, **said: Any) -> dict[str, Any]:
    """The payload of assignAgent."""
    given = {"workspaceId": workspace, "agentId": agent, **said}
    answer: dict[str, Any] = (await gateway.data(who, ASSIGN, input=given))["assignAgent"]
    return answer
