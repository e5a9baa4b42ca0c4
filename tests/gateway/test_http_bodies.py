"""This module is where request bodies are specified: what is read, how much of it, and how each bad one is refused."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable

import orjson
import pytest

from tests.gateway.served import serving
from tests.gateway.test_http import code_of
from tests.patience import DEADLINE

JSON = {"content-type": "application/json"}
LIMIT = 256 * 1024


def padded(size: int) -> bytes:
    """A good request of exactly so many bytes."""
    body = orjson.dumps({"query": "{ hello }"})
    return body + b" " * (size - len(body))


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", 'APPLICATION/JSON;charset="UTF-8"']
)
async def test_json_in_utf8_is_read(content_type: str) -> None:
    async with serving() as served:
        response = await served.http.post(
            "/graphql",
            content='{"query":"{ hello(name: \\"é🏃\\") }"}'.encode(),
            headers={"content-type": content_type},
        )
        assert response.json() == {"data": {"hello": "hello é🏃"}}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=latin-1",
        "",
    ],
)
async def test_other_content_types_are_415(content_type: str) -> None:
    async with serving() as served:
        response = await served.http.post(
            "/graphql", content=b'{"query":"{ hello }"}', headers={"content-type": content_type}
        )
        assert (response.status_code, code_of(response)) == (415, "BAD_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{ "not a JSON',
        b"\xff\xfe",
        b"null",
        b'"text"',
        b"[" * 50,
        b"{}",
        b'{"query":7}',
        b'{"query":"{ hello }","operationName":[]}',
        b'{"query":"{ hello }","variables":[]}',
        b'{"query":"{ hello }","variables":"{}"}',
        b'{"query":"{ hello }","extensions":0}',
    ],
)
async def test_a_body_that_is_no_request_is_400(body: bytes) -> None:
    async with serving() as served:
        response = await served.http.post("/graphql", content=body, headers=JSON)
        assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "body", [b"[" * 5000, b'{"query":' + b'{"a":' * 5000, b'{"variables":' + b"[" * 70 + b"]" * 70]
)
async def test_values_that_nest_without_end_are_refused_before_they_are_read(body: bytes) -> None:
    async with serving() as served:
        response = await served.http.post("/graphql", content=body, headers=JSON)
        assert (response.status_code, code_of(response)) == (400, "LIMIT_EXCEEDED")
        assert response.json()["errors"][0]["extensions"]["limit"] == "nesting"


async def test_brackets_in_texts_nest_nothing() -> None:
    async with serving() as served:
        text = '[{"' * 100
        response = await served.http.post(
            "/graphql", json={"query": "query($n: String!) { hello(name: $n) }", "variables": {"n": text}}
        )
        assert response.json() == {"data": {"hello": f"hello {text}"}}


async def test_batches_are_refused() -> None:
    async with serving() as served:
        response = await served.http.post("/graphql", json=[{"query": "{ hello }"}] * 2)
        assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")
        assert "Batching" in response.json()["errors"][0]["message"]


async def test_a_body_at_the_limit_is_read_and_one_above_is_one_clear_413() -> None:
    async with serving() as served:
        assert (await served.http.post("/graphql", content=padded(LIMIT), headers=JSON)).status_code == 200
        response = await served.http.post("/graphql", content=padded(LIMIT + 1), headers=JSON)
        assert (response.status_code, code_of(response)) == (413, "LIMIT_EXCEEDED")
        assert len(response.json()["errors"]) == 1


async def test_ten_megabytes_are_413_and_the_connection_still_serves() -> None:
    async with serving() as served:
        response = await served.http.post("/graphql", content=padded(10_000_000), headers=JSON)
        assert (response.status_code, code_of(response)) == (413, "LIMIT_EXCEEDED")
        assert (await served.query("{ hello }")).status_code == 200


async def test_a_body_of_undeclared_length_is_cut_at_the_limit() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    async with serving() as served:
        response = await served.http.post("/graphql", content=chunks(), headers=JSON)
        assert (response.status_code, code_of(response)) == (413, "LIMIT_EXCEEDED")


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_bodies_are_inflated(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    async with serving() as served:
        headers = {**JSON, "content-encoding": encoding}
        response = await served.http.post("/graphql", content=compress(padded(LIMIT)), headers=headers)
        assert response.json() == {"data": {"hello": "hello world"}}


async def test_a_bomb_is_413() -> None:
    bomb = gzip.compress(padded(200_000_000), compresslevel=9)
    assert len(bomb) < LIMIT
    async with serving() as served:
        headers = {**JSON, "content-encoding": "gzip"}
        response = await served.http.post("/graphql", content=bomb, headers=headers)
        assert (response.status_code, code_of(response)) == (413, "LIMIT_EXCEEDED")


async def test_compressed_nothings_without_end_are_413() -> None:
    async def blocks() -> AsyncIterator[bytes]:
        # A header, then empty blocks: they inflate to nothing, for ever.
        yield gzip.compress(b"")[:10]
        for _ in range(200):
            yield b"\x00\x00\x00\xff\xff" * 1000

    async with serving() as served:
        headers = {**JSON, "content-encoding": "gzip"}
        response = await served.http.post("/graphql", content=blocks(), headers=headers)
        assert (response.status_code, code_of(response)) == (413, "LIMIT_EXCEEDED")


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(padded(60))[:-9], 400),
        ("gzip", b"not gzip", 400),
        ("br", b"anything", 415),
        ("gzip, gzip", b"anything", 415),
    ],
)
async def test_a_damaged_or_unknown_encoding_is_refused(encoding: str, body: bytes, status: int) -> None:
    async with serving() as served:
        headers = {**JSON, "content-encoding": encoding}
        response = await served.http.post("/graphql", content=body, headers=headers)
        assert (response.status_code, code_of(response)) == (status, "BAD_REQUEST")


async def test_a_body_that_never_ends_is_408() -> None:
    async with serving(body_timeout=0.05) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b"POST /graphql HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
        )
        async with asyncio.timeout(DEADLINE):
            assert b" 408 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
