"""This module is where the JSON documents that people and tenants keep are held to their schemas.

As in JSON Schema, what a schema does not name is let through: clients keep things of their own beside it.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.errors import Refusal, invalid
from resolvers.validation import document, web_address

PREFERENCES_LIMIT_BYTES: Final = 16_384
TENANT_DOCUMENT_LIMIT_BYTES: Final = 65_536


class Shape(BaseModel):
    """An object whose named members have their types, without conversions; a member may be absent, not null."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


def address(value: str) -> str:
    """A web address, for members that are one. Raises ValueError."""
    # Dashboards put some into an image's source: nothing but a web address belongs there.
    try:
        return web_address(value)
    except Refusal as refusal:
        raise ValueError(refusal.message.removesuffix(".")) from refusal


class Notifications(Shape):
    """Where somebody wants to be told."""

    email: bool = False
    push: bool = False


class Preferences(Shape):
    """What a person set for themselves."""

    theme: Literal["light", "dark", "system"] = "system"
    language: str = Field(default="en", pattern=r"^[a-z]{2}(-[A-Z]{2})?$")
    notifications: Notifications = Notifications()
    default_model: str = ""


class Branding(Shape):
    """How a tenant looks."""

    logo_url: Annotated[str, AfterValidator(address)] = ""
    primary_color: str = Field(default="#000000", pattern=r"^#[0-9a-fA-F]{6}$")


_Seconds = Annotated[int, Field(ge=60, le=2_592_000)]


class EscalationSeconds(Shape):
    """After how long an alert that nobody acknowledges is escalated, by severity; null is never."""

    critical: _Seconds | None = None
    error: _Seconds | None = None
    warning: _Seconds | None = None
    info: _Seconds | None = None
    unknown: _Seconds | None = None


class Retention(Shape):
    """How long the tenant keeps things, in days; where it says nothing, as long as everybody."""

    conversation_days: int | None = Field(default=None, ge=1, le=3_650)


class TenantSettings(Shape):
    """What a tenant's administrators set."""

    allowed_models: list[str] = Field(default_factory=list)
    default_model: str = ""
    max_tokens_per_request: int = Field(default=32_000, ge=100, le=32_000)
    enabled_agents: list[str] = Field(default_factory=list)
    custom_branding: Branding = Branding()
    alert_escalation_seconds: EscalationSeconds = EscalationSeconds()
    retention: Retention = Retention()


_Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Limits(Shape):
    """What the platform allows a tenant beside its plan; null is no limit."""

    agents: _Count | None = None
    workspaces: _Count | None = None
    subscriptions: _Count | None = None
    # One at least: whom nothing is allowed is suspended, which is said with a status.
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None


def preferences(value: Any) -> dict[str, Any]:
    """A person's preferences. Raises INVALID naming the first member that is wrong."""
    return shaped(Preferences, document(value, PREFERENCES_LIMIT_BYTES, "preferences"), "preferences")


def tenant_settings(value: Any) -> dict[str, Any]:
    """A tenant's settings. Raises INVALID naming the first member that is wrong."""
    return shaped(TenantSettings, document(value, TENANT_DOCUMENT_LIMIT_BYTES, "settings"), "settings")


def limits(value: Any) -> dict[str, Any]:
    """A tenant's own limits. Raises INVALID naming the first member that is wrong."""
    return shaped(Limits, document(value, TENANT_DOCUMENT_LIMIT_BYTES, "limits"), "limits")


def shaped(shape: type[Shape], value: dict[str, Any], *field: str) -> dict[str, Any]:
    """``value``, which is what ``shape`` describes. Raises INVALID naming the first member that is wrong."""
    try:
        shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # Members' names only: pydantic adds which branch of a union it tried.
        members = _members(shape)
        path = [str(one) for one in first["loc"] if isinstance(one, int) or one in members]
        raise invalid(f"{first['msg'].removeprefix('Value error, ')}.", "input", *field, *path) from error
    return value


@cache
def _members(shape: type[Shape]) -> frozenset[str]:
    """The names of what the shape and the shapes within it name."""
    found = set(shape.model_fields)
    for one in shape.model_fields.values():
        found |= {name for inner in _shapes_in(one.annotation) for name in _members(inner)}
    return frozenset(found)


def _shapes_in(annotation: Any) -> list[type[Shape]]:
    if parts := get_args(annotation):
        return [inner for one in parts for inner in _shapes_in(one)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Shape) else []
