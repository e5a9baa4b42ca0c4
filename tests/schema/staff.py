"""This module is where tests of agents find people, and the documents that people send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import update

from models import Role, Tenant, User, UserStatus
from models.ids import encode, uuid7
from models.scopes import ROLE_SCOPES
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.world import principal

WHOLE: Final = """id name title domain description type model instruction capabilities guardrails config status
  isRouter escalatesTo { id } approvedBy { id } approvedAt rejectionReason hasApiKey workspace { id }
  llmProvider { id } version createdAt updatedAt"""


def mutation(name: str, asked: str, fields: str = "id version") -> str:
    """A document that runs one mutation and asks ``fields`` of what its payload's ``asked`` holds."""
    inner = f"{asked} {{ {fields} }}" if fields else asked
    kind = f"{name[0].upper()}{name[1:]}Input!"
    return f"mutation($input: {kind}) {{ {name}(input: $input) {{ {inner} userErrors {{ code message field }} }} }}"


CREATE: Final = mutation("createAgent", "agent", WHOLE)
UPDATE: Final = mutation("updateAgent", "agent", WHOLE)
DECIDE: Final = mutation("decideAgent", "agent", WHOLE)
DELETE: Final = mutation("deleteAgent", "deletedId", "")


async def person(gateway: Gateway, tenant_id: UUID, role: Role = Role.ADMIN) -> Principal:
    """Somebody with an account and exactly this role's scopes."""
    user = User(tenant_id=tenant_id, id=uuid7(), display_name=role.value, status=UserStatus.ACTIVE)
    async with gateway.services.database.session(tenant_id) as session:
        session.add(user)
        await session.commit()
    return principal(tenant_id, role, user_id=user.id, scopes=ROLE_SCOPES[role])


async def done(gateway: Gateway, who: Principal, mutates: str, /, **said: Any) -> Any:
    """What a mutation made; it must have nothing to complain about."""
    payload = await answered(gateway, who, mutates, **said)
    errors = payload.pop("userErrors")
    assert errors == [], errors
    (made,) = payload.values()
    return made


async def answered(gateway: Gateway, who: Principal, mutates: str, /, **said: Any) -> dict[str, Any]:
    """A mutation's payload."""
    (payload,) = (await gateway.data(who, mutates, input=said)).values()
    found: dict[str, Any] = payload
    return found


async def refused(gateway: Gateway, who: Principal, mutates: str, /, **said: Any) -> tuple[str, list[str] | None]:
    """Code and path of the one complaint a mutation has."""
    (error,) = (await answered(gateway, who, mutates, **said))["userErrors"]
    return error["code"], error["field"]


async def make(gateway: Gateway, who: Principal, name: str = "helper", **said: Any) -> dict[str, Any]:
    """An agent, of the type LLM unless told otherwise."""
    given = {"name": name, "type": "LLM", **said}
    if given["type"] == "LLM":
        given.setdefault("model", "gpt-4o")
    made: dict[str, Any] = await done(gateway, who, CREATE, **given)
    return made


async def kinds(gateway: Gateway, who: Principal, ids: Sequence[str]) -> list[str]:
    """The kinds of the events about these things, oldest first."""
    page = await gateway.data(who, "{ activity(first: 100) { nodes { kind entityId } } }")
    return [one["kind"] for one in reversed(page["activity"]["nodes"]) if one["entityId"] in ids]


async def settings(gateway: Gateway, tenant_id: UUID, **said: Any) -> None:
    """Set what the tenant's administrators set."""
    await _tenant(gateway, tenant_id, settings=said)


async def room_for(gateway: Gateway, tenant_id: UUID, agents: int) -> None:
    """Set how many agents the tenant may have."""
    await _tenant(gateway, tenant_id, limits={"agents": agents})


async def _tenant(gateway: Gateway, tenant_id: UUID, **values: Any) -> None:
    async with gateway.services.database.session(tenant_id) as session:
        await session.execute(update(Tenant).where(Tenant.id == tenant_id).values(**values))
        await session.commit()


def nobody(prefix: str) -> str:
    """An id that names nothing."""
    return encode(prefix, uuid7())
