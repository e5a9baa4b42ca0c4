"""This module is where the table of roles and scopes is held to what api.md promises of each role."""

from __future__ import annotations

from itertools import pairwise

import pytest

from models.scopes import (
    GRANTABLE_SCOPES,
    INGEST_SCOPES,
    ROLE_SCOPES,
    WORKSPACE_TOKEN_SCOPES,
    Role,
    Scope,
    scopes_of,
)

NAMELESS = {Scope.PUBLIC, Scope.SIGNED_IN}


def test_every_role_stands_in_the_table() -> None:
    assert set(ROLE_SCOPES) == set(Role)


@pytest.mark.parametrize("scope", sorted(set(Scope) - NAMELESS))
def test_a_scope_reads_resource_and_verb(scope: Scope) -> None:
    resource, _, verb = scope.value.partition(":")
    assert resource.isidentifier()
    assert verb.isidentifier()


def test_each_role_on_the_ladder_holds_what_the_one_below_holds() -> None:
    ladder = [Role.VIEWER, Role.MEMBER, Role.OPERATOR, Role.ADMIN]
    for lower, higher in pairwise(ladder):
        assert ROLE_SCOPES[lower] <= ROLE_SCOPES[higher]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR])
def test_viewers_and_auditors_write_nothing(role: Role) -> None:
    assert {scope for scope in ROLE_SCOPES[role] if not scope.value.endswith(":read")} <= NAMELESS


def test_an_admin_holds_everything_inside_the_tenant_and_nothing_of_the_platform() -> None:
    assert ROLE_SCOPES[Role.ADMIN] == set(Scope) - {Scope.PUBLIC, Scope.PLATFORM_ADMIN}


def test_no_role_and_no_key_holds_the_platform() -> None:
    assert Scope.PLATFORM_ADMIN not in scopes_of(list(Role))
    assert Scope.PLATFORM_ADMIN not in GRANTABLE_SCOPES


def test_only_an_admin_manages_people_and_keys() -> None:
    for role in set(Role) - {Role.ADMIN}:
        assert not ROLE_SCOPES[role] & {Scope.USERS_WRITE, Scope.KEYS_WRITE, Scope.TENANTS_WRITE}


def test_a_key_can_be_given_what_fleets_and_workspaces_need() -> None:
    assert WORKSPACE_TOKEN_SCOPES <= GRANTABLE_SCOPES
    assert INGEST_SCOPES <= GRANTABLE_SCOPES
    assert not GRANTABLE_SCOPES & NAMELESS


def test_the_role_of_a_machine_gives_nothing_by_itself() -> None:
    assert ROLE_SCOPES[Role.API_CLIENT] <= NAMELESS


def test_several_roles_hold_the_union_and_no_role_holds_nothing() -> None:
    assert scopes_of([Role.VIEWER, Role.OPERATOR]) == ROLE_SCOPES[Role.OPERATOR]
    assert scopes_of([]) == frozenset()
