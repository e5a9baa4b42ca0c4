"""This module is where GraphQL over HTTP is specified: answers, their types, their status and their errors."""

from __future__ import annotations

import httpx
import pytest

from models.errors import Throttled, Unauthenticated, Unavailable
from tests.gateway.served import Served, serving
from tests.gateway.toy import ToyOperations

GRAPHQL_RESPONSE = "application/graphql-response+json"


def code_of(response: httpx.Response) -> str:
    """The code of the first error, after checking that errors have their one shape."""
    (error, *_) = response.json()["errors"]
    assert set(error) == {"message", "extensions"}
    assert error["extensions"]["requestId"] == response.headers["x-request-id"]
    code: str = error["extensions"]["code"]
    return code


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json; charset=utf-8"),
        (GRAPHQL_RESPONSE, f"{GRAPHQL_RESPONSE}; charset=utf-8"),
        ("*/*", "application/json; charset=utf-8"),
        ("application/*", "application/json; charset=utf-8"),
        ("", "application/json; charset=utf-8"),
        (f"{GRAPHQL_RESPONSE};q=0.1, application/json", "application/json; charset=utf-8"),
        (f"{GRAPHQL_RESPONSE}, application/json;q=0.9", f"{GRAPHQL_RESPONSE}; charset=utf-8"),
        (f"{GRAPHQL_RESPONSE};q=0, */*", "application/json; charset=utf-8"),
        ("text/event-stream, application/json;q=0.1", "application/json; charset=utf-8"),
    ],
)
async def test_the_accept_header_decides_the_type_of_the_answer(accept: str, content_type: str) -> None:
    async with serving() as served:
        response = await served.query("{ hello }", accept=accept)
        assert response.status_code == 200
        assert response.headers["content-type"] == content_type
        assert response.json() == {"data": {"hello": "hello world"}}


async def test_an_accept_header_without_a_type_of_ours_is_406() -> None:
    async with serving() as served:
        response = await served.query("{ hello }", accept="image/png, text/html")
        assert (response.status_code, code_of(response)) == (406, "BAD_REQUEST")


@pytest.mark.parametrize("query", ["{", "{ nope }", "query ($n: String!) { hello(name: $n) }"])
async def test_a_request_error_has_no_data_and_is_400_in_graphqls_own_type(query: str) -> None:
    async with serving() as served:
        response = await served.query(query, accept=GRAPHQL_RESPONSE)
        assert response.status_code == 400
        assert "data" not in response.json()
        assert code_of(response) == "BAD_REQUEST"
        # "the server SHOULD respond with a 200" for well-formed requests whose answer is application/json.
        plain = await served.query(query, accept="application/json")
        assert plain.status_code == 200
        assert "data" not in plain.json()


async def test_an_error_during_execution_is_200_and_tells_nothing_of_the_inside() -> None:
    async with serving() as served:
        response = await served.query("{ broken }", accept=GRAPHQL_RESPONSE)
        assert response.status_code == 200
        assert response.json()["data"] is None
        assert code_of(response) == "INTERNAL"
        assert "the inside" not in response.text


async def test_dead_credentials_are_401_and_say_how_to_authenticate() -> None:
    async with serving() as served:
        response = await served.query("{ hello }", token="mallory")
        assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_no_credentials_are_nobody_and_good_ones_are_their_holder() -> None:
    async with serving() as served:
        assert (await served.query("{ me }")).json() == {"data": {"me": None}}
        response = await served.query("{ me }", token="ada")
        assert response.json() == {"data": {"me": served.operations.principals["ada"].key}}


@pytest.mark.parametrize(
    ("failure", "status"),
    [(Throttled(retryAfterSeconds=1.2), 429), (Unavailable(), 503), (Unauthenticated(), 401)],
)
async def test_a_refused_request_has_the_status_of_its_code(
    failure: Throttled | Unavailable | Unauthenticated, status: int
) -> None:
    operations = ToyOperations()
    operations.failure = failure
    async with serving(operations) as served:
        response = await served.query("{ hello }")
        assert (response.status_code, code_of(response)) == (status, failure.code)
        assert response.headers.get("retry-after") == ("2" if status == 429 else None)


async def test_a_rate_that_ran_out_is_told_in_the_headers_of_the_draft() -> None:
    """draft-ietf-httpapi-ratelimit-headers-10: lists of policies by name; q and r count, w and t are seconds."""
    operations = ToyOperations()
    limit = {"policy": "user", "quota": 60, "windowSeconds": 60, "remaining": 4}
    operations.failure = Throttled(retryAfterSeconds=6, rateLimit=limit)
    origin = "https://app.example"
    async with serving(operations, allowed_origins=frozenset({origin})) as served:
        response = await served.query("{ hello }", origin=origin)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "6"
    assert response.headers["ratelimit-policy"] == '"user";q=60;w=60'
    assert response.headers["ratelimit"] == '"user";r=4;t=6'
    readable = response.headers["access-control-expose-headers"]
    assert {"retry-after", "ratelimit", "ratelimit-policy"} <= set(readable.split(", "))


async def test_nothing_is_said_of_rates_where_none_ran_out() -> None:
    operations = ToyOperations()
    async with serving(operations) as served:
        answers = [await served.query("{ hello }")]
        operations.failure = Throttled("Too many people are signing in.", retryAfterSeconds=2)
        answers.append(await served.query("{ hello }"))
    assert [answer.headers.get("retry-after") for answer in answers] == [None, "2"]
    assert not {"ratelimit", "ratelimit-policy"} & {name for answer in answers for name in answer.headers}


async def test_the_callers_request_id_comes_back_and_a_harmful_one_does_not() -> None:
    async with serving() as served:
        response = await served.query("{ nope }", x_request_id="trace-1.a:b")
        assert response.headers["x-request-id"] == "trace-1.a:b"
        assert response.json()["errors"][0]["extensions"]["requestId"] == "trace-1.a:b"
        for harmful in ('"><script>', "x" * 65, "a b"):
            given = (await served.query("{ hello }", x_request_id=harmful)).headers["x-request-id"]
            assert given != harmful
            assert given


async def test_get_is_refused_unless_it_is_allowed() -> None:
    async with serving() as served:
        response = await served.http.get("/graphql", params={"query": "{ hello }"})
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        assert code_of(response) == "BAD_REQUEST"


async def test_an_allowed_get_runs_queries_with_variables_and_never_mutations() -> None:
    async with serving(allow_get=True) as served:
        query = {"query": "query Q($n: String!) { hello(name: $n) }", "variables": '{"n":"ada"}', "operationName": "Q"}
        assert (await served.http.get("/graphql", params=query)).json() == {"data": {"hello": "hello ada"}}
        response = await served.http.get("/graphql", params={"query": "mutation { slow }"})
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        assert served.operations.stage.finished_mutations == 0


@pytest.mark.parametrize("parameters", [{}, {"query": ""}, {"query": "{ hello }", "variables": "{"}])
async def test_a_get_with_bad_parameters_is_400(parameters: dict[str, str]) -> None:
    async with serving(allow_get=True) as served:
        response = await served.http.get("/graphql", params=parameters)
        assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods_are_405(method: str) -> None:
    async with serving() as served:
        assert (await served.http.request(method, "/graphql")).status_code == 405


async def test_an_unlisted_host_is_not_served() -> None:
    async with serving(allowed_hosts=frozenset({"signalbox.example"})) as served:
        response = await served.query("{ hello }")
        assert (response.status_code, code_of(response)) == (421, "BAD_REQUEST")
        assert (await served.query("{ hello }", host="signalbox.example:8443")).status_code == 200


async def test_a_listed_origin_may_read_answers_and_another_may_not() -> None:
    async with serving(allowed_origins=frozenset({"https://app.example"})) as served:
        preflight = await _preflight(served, "https://app.example")
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        answer = await served.query("{ hello }", origin="https://app.example")
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in answer.headers
        other = await served.query("{ hello }", origin="https://evil.example")
        assert "access-control-allow-origin" not in other.headers
        assert (other.status_code, code_of(other)) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("origin", "hosts", "status"),
    [
        ("http://{host}", frozenset({"127.0.0.1"}), 200),
        ("http://{host}", frozenset({"*"}), 403),
        ("http://{host}", frozenset({"gateway.example"}), 421),
        ("http://127.0.0.1:1", frozenset({"127.0.0.1"}), 403),
        ("null", frozenset({"127.0.0.1"}), 403),
    ],
    ids=["the host itself", "a host that nobody named", "another host", "another port", "a sandbox"],
)
async def test_a_page_of_a_named_host_may_ask_that_host(origin: str, hosts: frozenset[str], status: int) -> None:
    async with serving(allowed_hosts=hosts) as served:
        answer = await served.query("{ hello }", origin=origin.format(host=f"127.0.0.1:{served.port}"))
        assert answer.status_code == status


async def _preflight(served: Served, origin: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return await served.http.options("/graphql", headers=headers)
