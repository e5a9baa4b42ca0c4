"""This module is where tests get people and agents who talk: documents, and one line for each thing they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from models import Agent, AgentType, Role, Workspace
from models.ids import encode, parse, uuid7
from models.scopes import INGEST_SCOPES, WORKSPACE_TOKEN_SCOPES
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.test_audit import person

ERRORS: Final = "userErrors { code field }"
START: Final = f"""mutation($input: StartConversationInput!) {{ startConversation(input: $input) {{
  conversation {{ id kind title status messageCount user {{ id }} agent {{ id }} contact {{ id }} }} {ERRORS} }} }}"""
APPEND: Final = f"""mutation($input: AppendMessageInput!) {{ appendMessage(input: $input) {{
  message {{ id seq role content state parent {{ id }} }} {ERRORS} }} }}"""
UPDATE: Final = f"""mutation($input: UpdateConversationInput!) {{ updateConversation(input: $input) {{
  conversation {{ id title summary metadata status agent {{ id }} }} {ERRORS} }} }}"""
ARCHIVE: Final = f"""mutation($input: ArchiveConversationInput!) {{ archiveConversation(input: $input) {{
  conversation {{ id status archivedAt }} {ERRORS} }} }}"""
DELETE: Final = f"""mutation($input: DeleteConversationInput!) {{ deleteConversation(input: $input) {{
  deletedId {ERRORS} }} }}"""
UPSERT: Final = f"""mutation($input: UpsertContactInput!) {{ upsertContact(input: $input) {{
  contact {{ id externalId name meta }} {ERRORS} }} }}"""
CHUNK: Final = f"""mutation($input: PublishMessageChunkInput!) {{ publishMessageChunk(input: $input) {{
  messageId {ERRORS} }} }}"""
READ: Final = f"""mutation($input: MarkReadInput!) {{ markRead(input: $input) {{
  conversation {{ id unreadCount }} {ERRORS} }} }}"""
TYPE: Final = f"mutation($input: SetTypingInput!) {{ setTyping(input: $input) {{ isTyping {ERRORS} }} }}"
MESSAGES: Final = """query($id: ID!, $first: Int, $after: String, $last: Int, $before: String) { conversation(id: $id) {
  messageCount tokenCount lastMessageAt messages(first: $first, after: $after, last: $last, before: $before) {
    totalCount nodes { seq content } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }
} }"""


def keyed(tenant: UUID) -> Principal:
    """The fleet's own key."""
    return Principal(tenant_id=tenant, scopes=INGEST_SCOPES, api_key_id=uuid7())


def machine(tenant: UUID, place: UUID) -> Principal:
    """A workspace's token."""
    return Principal(tenant_id=tenant, scopes=WORKSPACE_TOKEN_SCOPES, api_key_id=uuid7(), workspace_id=place)


@dataclass(slots=True)
class Talk:
    """A tenant with people of every role, an agent in a workspace, and a key."""

    gateway: Gateway
    tenant: UUID
    admin: Principal
    operator: Principal
    member: Principal
    other_member: Principal
    viewer: Principal
    key: Principal
    token: Principal
    agent: str
    place: UUID

    @classmethod
    async def begin(cls, gateway: Gateway, tenant: UUID) -> Talk:
        """Everybody arrives."""
        place, agent = uuid7(), uuid7()
        async with gateway.services.database.session(tenant) as session:
            session.add(Workspace(tenant_id=tenant, id=place, name="Desk"))
            await session.flush()
            session.add(Agent(tenant_id=tenant, id=agent, name="helper", type=AgentType.LLM, workspace_id=place))
            await session.commit()
        return cls(
            gateway,
            tenant,
            admin=await person(gateway, tenant),
            operator=await person(gateway, tenant, Role.OPERATOR),
            member=await person(gateway, tenant, Role.MEMBER),
            other_member=await person(gateway, tenant, Role.MEMBER),
            viewer=await person(gateway, tenant, Role.VIEWER),
            key=keyed(tenant),
            token=machine(tenant, place),
            agent=encode("agent", agent),
            place=place,
        )

    async def do(self, who: Principal, document: str, **said: Any) -> dict[str, Any]:
        """What the one mutation of ``document`` answers."""
        data = await self.gateway.data(who, document, input=said)
        answer: dict[str, Any] = next(iter(data.values()))
        return answer

    async def done(self, who: Principal, document: str, **said: Any) -> Any:
        """The object that it answers, which it does without user errors."""
        answer = await self.do(who, document, **said)
        assert answer["userErrors"] == [], answer
        return next(iter(answer.values()))

    async def refused(self, who: Principal, document: str, **said: Any) -> tuple[str, list[str]]:
        """Code and field of its one user error; nothing was done."""
        answer = await self.do(who, document, **said)
        (error,) = answer["userErrors"]
        return error["code"], error["field"]

    async def start(self, who: Principal | None = None, **said: Any) -> str:
        """A new chat's id; the member's with the agent when nothing is said."""
        made = await self.done(who or self.member, START, **({"kind": "CHAT", "agentId": self.agent} | said))
        return str(made["id"])

    async def say(self, talk: str, content: str, who: Principal | None = None, **said: Any) -> dict[str, Any]:
        """A message; the member's when nothing is said."""
        asked = {"conversationId": talk, "role": "USER", "content": content} | said
        message: dict[str, Any] = await self.done(who or self.member, APPEND, **asked)
        return message

    async def code(self, who: Principal | None, query: str, **variables: Any) -> set[str]:
        """The codes of an answer's errors."""
        answer = await self.gateway.answer(who, query, **variables)
        return {one["extensions"]["code"] for one in answer.get("errors", ())}


def raw(prefix: str, typeid: str) -> UUID:
    """The uuid of an id."""
    return parse(typeid, prefix)
