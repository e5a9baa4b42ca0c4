"""This module is where the page that browsers get is specified, as far as that needs no browser."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from gateway.graphiql.assets import DIRECTORY
from tests.gateway.served import serving

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
ADDRESS = re.compile(r'(?:src|href)="([^"]+)"')


async def test_a_browser_gets_the_page_and_a_client_does_not() -> None:
    async with serving(graphiql=True, allow_get=True) as served:
        page = await served.http.get("/graphql", headers=BROWSER)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        answer = await served.http.get("/graphql", params={"query": "{ hello }"}, headers=BROWSER)
        assert answer.json() == {"data": {"hello": "hello world"}}


async def test_without_graphiql_there_is_neither_page_nor_file() -> None:
    async with serving(graphiql=False) as served:
        assert (await served.http.get("/graphql", headers=BROWSER)).status_code == 405
        assert (await served.http.get("/graphql/assets/page.js")).status_code == 404


async def test_everything_the_page_loads_is_served_here_and_may_be_cached_for_good() -> None:
    async with serving(graphiql=True) as served:
        html = (await served.http.get("/graphql", headers=BROWSER)).text
        addresses = set(ADDRESS.findall(html)) - {"/graphql"}
        assert len(addresses) == 10
        for address in addresses:
            assert address.startswith("/graphql/assets/")
            response = await served.http.get(address)
            assert response.status_code == 200
            assert "immutable" in response.headers["cache-control"]


async def test_scripts_come_from_here_and_none_is_inline() -> None:
    async with serving(graphiql=True) as served:
        page = await served.http.get("/graphql", headers=BROWSER)
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert not re.search(r"<script[^>]*>[^<]", page.text)
        assert not re.search(r"\son\w+=", page.text)


async def test_a_file_is_compressed_once_asked_for_and_not_sent_again_when_known() -> None:
    async with serving(graphiql=True) as served:
        plain = await served.http.get("/graphql/assets/page.js", headers={"accept-encoding": "identity"})
        packed = await served.http.get("/graphql/assets/page.js", headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert plain.text == packed.text == (DIRECTORY / "page.js").read_text(encoding="utf-8")
        assert plain.headers["cache-control"] == "no-cache"
        again = await served.http.get("/graphql/assets/page.js", headers={"if-none-match": plain.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["page.html", "VENDORED.md", "..%2fpage.py", "nothing.js", ""])
async def test_no_other_file_is_served(name: str) -> None:
    async with serving(graphiql=True) as served:
        assert (await served.http.get(f"/graphql/assets/{name}")).status_code == 404


def test_the_files_from_npm_are_unchanged_and_all_listed() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", (DIRECTORY / "VENDORED.md").read_text(), re.M)
    listed = dict(rows)
    ours = {"page.js", "session.js", "transport.js", "examples.js", "signalbox.css", "icon.svg", "page.html"}
    notes = {"VENDORED.md", "LICENSES.txt"}
    assert {path.name for path in DIRECTORY.iterdir()} == set(listed) | ours | notes
    for name, digest in listed.items():
        assert sha256((DIRECTORY / name).read_bytes()).hexdigest() == digest
