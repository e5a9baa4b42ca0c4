"""This module is where the demo's tenants are described: who works there, which agents they have, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models import AgentStatus, AgentType, Role, TenantPlan, UserStatus, WorkspaceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSample:
    """Someone with an account; ``key`` is the address up to the @."""

    key: str
    name: str
    department: str
    role: Role
    status: UserStatus = UserStatus.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceSample:
    """A workspace and where it stands in its life. Those that live beat with these figures at every start."""

    key: str
    name: str
    status: WorkspaceStatus
    role: str = ""
    parent: str | None = None
    tier: int = 2
    task: str | None = None
    error_rate: float = 0.02
    error: str | None = None
    is_wedged: bool = False
    forwarded_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSample:
    """An agent. ``parts`` are its sub-agents by name; whom it names stands before it in the list."""

    name: str
    type: AgentType = AgentType.LLM
    status: AgentStatus = AgentStatus.ACTIVE
    title: str
    domain: str
    description: str
    model: str | None = None
    instruction: str | None = None
    capabilities: tuple[str, ...] = ()
    guardrails: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    is_router: bool = False
    escalates_to: str | None = None
    rejection_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentSample:
    """The agents that had a place one after the other; ``is_over``: the last one left, too."""

    place: str
    agents: tuple[str, ...]
    is_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSample:
    """A tenant with everything in it."""

    slug: str
    name: str
    plan: TenantPlan
    settings: dict[str, Any]
    people: tuple[PersonSample, ...]
    places: tuple[PlaceSample, ...]
    agents: tuple[AgentSample, ...]
    assignments: tuple[AssignmentSample, ...]

    @property
    def domain(self) -> str:
        """Where its people have their addresses."""
        return f"{self.slug}.example"


def staff(*names: tuple[str, str]) -> tuple[PersonSample, ...]:
    """One person for each role that people have, then one who is invited, one suspended, one who left.

    ``names`` are their names and departments in this order.
    """
    roles = (Role.ADMIN, Role.OPERATOR, Role.MEMBER, Role.VIEWER, Role.AUDITOR)
    others = (
        ("newcomer", Role.MEMBER, UserStatus.PENDING),
        ("suspended", Role.OPERATOR, UserStatus.SUSPENDED),
        ("former", Role.MEMBER, UserStatus.DELETED),
    )
    slots = [(role.value, role, UserStatus.ACTIVE) for role in roles] + list(others)
    return tuple(
        PersonSample(key=key, name=name, department=department, role=role, status=status)
        for (key, role, status), (name, department) in zip(slots, names, strict=True)
    )
