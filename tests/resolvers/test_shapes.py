"""This module is where preferences, tenant settings and limits are held against their schemas, member by member."""

from __future__ import annotations

from typing import Any

import pytest

from models import PLAN_LIMITS, UNLIMITED, TenantLimits, TenantPlan
from models.errors import Refusal, RefusalCode
from resolvers import shapes

PREFERENCES = {
    "theme": "dark",
    "language": "en-US",
    "notifications": {"email": True, "push": False},
    "default_model": "claude-sonnet-4",
}
SETTINGS = {
    "allowed_models": ["gpt-4o"],
    "default_model": "gpt-4o",
    "max_tokens_per_request": 100,
    "enabled_agents": [],
    "custom_branding": {"logo_url": "https://cdn.example/logo.png", "primary_color": "#00aAfF"},
}


def refused(shape: Any, value: Any) -> tuple[str, ...]:
    with pytest.raises(Refusal) as refusal:
        shape(value)
    assert refusal.value.code is RefusalCode.INVALID
    assert refusal.value.message.endswith(".")
    assert refusal.value.field is not None
    return refusal.value.field


@pytest.mark.parametrize(
    "value",
    [{}, PREFERENCES, {"theme": "system"}, {"language": "de"}, {"of_a_client": [1, None]}, {"notifications": {}}],
)
def test_preferences_of_the_schema_are_kept_as_they_are_given(value: dict[str, Any]) -> None:
    assert shapes.preferences(value) == value


@pytest.mark.parametrize(
    ("value", "member"),
    [
        ({"theme": "pink"}, "theme"),
        ({"theme": None}, "theme"),
        ({"language": "english"}, "language"),
        ({"language": "en-us"}, "language"),
        ({"language": "en\n"}, "language"),
        ({"notifications": True}, "notifications"),
        ({"notifications": {"email": "yes"}}, "notifications.email"),
        ({"notifications": {"push": 1}}, "notifications.push"),
        ({"default_model": 4}, "default_model"),
        ({"theme": "x" * 20_000}, ""),
        ([], ""),
    ],
)
def test_preferences_that_break_the_schema_are_refused_by_the_members_name(value: Any, member: str) -> None:
    assert refused(shapes.preferences, value) == ("input", "preferences", *filter(None, member.split(".")))


@pytest.mark.parametrize("value", [{}, SETTINGS, {"max_tokens_per_request": 32_000}, {"colour": "red"}])
def test_settings_of_the_schema_are_kept_as_they_are_given(value: dict[str, Any]) -> None:
    assert shapes.tenant_settings(value) == value


@pytest.mark.parametrize(
    ("value", "member"),
    [
        ({"allowed_models": "gpt-4o"}, "allowed_models"),
        ({"allowed_models": ["gpt-4o", 4]}, "allowed_models.1"),
        ({"default_model": None}, "default_model"),
        ({"max_tokens_per_request": 99}, "max_tokens_per_request"),
        ({"max_tokens_per_request": 32_001}, "max_tokens_per_request"),
        ({"max_tokens_per_request": "500"}, "max_tokens_per_request"),
        ({"max_tokens_per_request": True}, "max_tokens_per_request"),
        ({"enabled_agents": {}}, "enabled_agents"),
        ({"custom_branding": {"primary_color": "red"}}, "custom_branding.primary_color"),
        ({"custom_branding": {"primary_color": "#00AAFF00"}}, "custom_branding.primary_color"),
        ({"custom_branding": {"logo_url": "logo.png"}}, "custom_branding.logo_url"),
        ({"custom_branding": {"logo_url": "javascript:alert(1)"}}, "custom_branding.logo_url"),
    ],
)
def test_settings_that_break_the_schema_are_refused_by_the_members_name(value: Any, member: str) -> None:
    assert refused(shapes.tenant_settings, value) == ("input", "settings", *member.split("."))


@pytest.mark.parametrize("value", [-1, 1.5, "5", True, 10**12])
def test_a_limit_is_a_whole_number_or_none(value: Any) -> None:
    assert refused(shapes.limits, {"agents": value}) == ("input", "limits", "agents")
    assert shapes.limits({"agents": 0, "workspaces": None, "of_another_system": "x"})
    assert refused(shapes.limits, {"requests_per_minute": 0}) == ("input", "limits", "requests_per_minute")


def test_a_refusal_names_no_member_that_the_caller_made_up() -> None:
    assert refused(shapes.preferences, {"notifications": {"email": 1, "a secret": 2}}) == (
        "input",
        "preferences",
        "notifications",
        "email",
    )


def test_a_tenants_own_limits_stand_before_its_plans_and_null_lifts_one() -> None:
    free = PLAN_LIMITS[TenantPlan.FREE]
    assert TenantLimits.of(TenantPlan.FREE, {}) == free
    assert TenantLimits.of(TenantPlan.ENTERPRISE, {}) == UNLIMITED
    own = TenantLimits.of(TenantPlan.FREE, {"agents": 3, "workspaces": None, "storage": "1 GB"})
    assert own == TenantLimits(3, None, free.subscriptions, free.requests_per_minute)


@pytest.mark.parametrize("imported", ["many", -1, True, 1.5, []])
def test_a_limit_that_an_import_left_unreadable_leaves_the_plans_in_force(imported: Any) -> None:
    assert TenantLimits.of(TenantPlan.FREE, {"agents": imported}) == PLAN_LIMITS[TenantPlan.FREE]
