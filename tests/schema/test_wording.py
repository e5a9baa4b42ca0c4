"""This module is where complaints are specified: they say what is wrong and where, and quote nobody."""

from __future__ import annotations

import pytest

from gateway.wording import without_values
from models import Role
from tests.schema.conftest import Gateway
from tests.world import Tenants, principal

UPDATE = "mutation($input: UpdateUserInput!) { updateUser(input: $input) { user { id } } }"
LOGIN = "mutation($input: LoginInput!) { login(input: $input) { accessToken } }"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "Variable '$input' has invalid value: Expected value of type 'X' not to include unknown field 'y', "
            "found: {'y': 'CANARY'}.",
            "Variable '$input' has invalid value: Expected value of type 'X' not to include unknown field 'y'.",
        ),
        (
            "Variable '$input' has invalid value at .password: String cannot represent a non string value: ['CANARY']",
            "Variable '$input' has invalid value at .password: String cannot represent a non string value.",
        ),
        (
            "Expected value of type 'X' not to include unknown field 'y'. Did you mean 'z'? Found: { y: \"CANARY\" }.",
            "Expected value of type 'X' not to include unknown field 'y'. Did you mean 'z'?",
        ),
        ("Value 'CANARY' does not exist in 'UserStatus' enum.", "This value does not exist in 'UserStatus' enum."),
        ("Enum 'E' cannot represent non-enum value: \"CANARY\".", "Enum 'E' cannot represent non-enum value."),
        ("Syntax Error: Expected Name, found String 'CANARY'.", "Syntax Error: Expected Name, found String."),
        ("Cannot query field 'nope' on type 'Query'.", "Cannot query field 'nope' on type 'Query'."),
    ],
)
def test_what_was_given_as_a_value_is_left_out(said: str, kept: str) -> None:
    assert without_values(said) == kept


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (UPDATE, {"input": {"id": "x", "displayName": "CANARY", "nothing": "CANARY"}}),
        (LOGIN, {"input": {"tenantSlug": "s", "email": "CANARY", "password": ["CANARY"]}}),
        (LOGIN, {"input": {"tenantSlug": "s", "email": "CANARY"}}),
        ("query($first: Int) { users(first: $first) { totalCount } }", {"first": "CANARY"}),
        ("query($f: UserFilter) { users(filter: $f) { totalCount } }", {"f": {"status": ["CANARY"]}}),
        ('{ users(first: "CANARY") { totalCount } }', {}),
        ('mutation { login(input: {email: "CANARY", pasword: "CANARY"}) { accessToken } }', {}),
        ('{ users(filter: {status: "CANARY"}) { totalCount } }', {}),
        ('{ users(first: 5 "CANARY"', {}),
        ('query($first: Int = "CANARY") { users(first: $first) { totalCount } }', {}),
        ('{ node(id: {a: "CANARY"}) { id } }', {}),
        ('{ users @include(if: "CANARY") { totalCount } }', {}),
        ('{ activity(filter: {kinds: [{a: "CANARY"}]}) { nodes { id } } }', {}),
    ],
)
async def test_no_error_of_a_document_or_its_variables_holds_a_value(
    gateway: Gateway, tenants: Tenants, query: str, variables: dict[str, object]
) -> None:
    answer = await gateway.answer(principal(tenants.mine, Role.ADMIN), query, **variables)
    assert answer["errors"]
    assert "CANARY" not in str(answer["errors"])
