"""This module is where every attack that we know of stands: what is sent, and how it has to be refused."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

JSON: Final = {"content-type": "application/json"}
LOGIN: Final = 'login(input: {tenantSlug: "x", email: "a@b.example", password: "wrong wrong"}) { accessToken }'
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Attack:
    """One request that must cost next to nothing: ``code`` is its answer, ``limit`` which limit it broke."""

    name: str
    body: bytes
    code: str
    limit: str | None = None
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    method: str = "POST"
    path: str = "/graphql"
    signed_in: bool = True


def document(name: str, text: str, code: str, limit: str | None = None, **variables: Any) -> Attack:
    """An attack by its document."""
    body: dict[str, Any] = {"query": text, **({"variables": variables} if variables else {})}
    return Attack(name, orjson.dumps(body), code, limit)


def nested(opening: str, levels: int, closing: str) -> str:
    """So many of one thing in each other."""
    return opening * levels + "x" + closing * levels


def spreading(count: int, spreads: int) -> str:
    """Fragments that each spread the next one several times, and the last one reads a field."""
    layers = "".join(f" fragment f{n} on Query {{ {f'...f{n + 1} ' * spreads}}}" for n in range(count))
    return f"{layers} fragment f{count} on Query {{ viewer {{ roles }} }}"


def growing(count: int) -> str:
    """Fragments that each read ten children with the next one in them, three times over."""
    parts = "children {{ ...f{0} }} ... {{ children {{ ...f{0} }} }} ... {{ children {{ ...f{0} }} }}"
    layers = "".join(f" fragment f{n} on Workspace {{ {parts.format(n + 1)} }}" for n in range(count))
    return f"{{ workspaces {{ nodes {{ ...f0 }} }} }}{layers} fragment f{count} on Workspace {{ name }}"


def malformed() -> Iterator[Attack]:
    """Documents that are none."""
    texts = {
        "an open brace": "{",
        "nothing": "",
        "a comment": "# nothing",
        "another language": "SELECT * FROM users; --",
        "an unknown keyword": "qwerty cop { abc }",
        "an open string": '{ node(id: "',
        "an open block string": '{ node(id: """',
        "a NUL": "{ viewer\u0000 { roles } }",
        "a lone surrogate": '{ node(id: "\\uD800") { id } }',
        "two without names": "{ __typename } { __typename }",
        "a type": "type Query { a: Int }",
        "a fragment alone": "fragment F on Query { __typename }",
        "an unknown fragment": "{ ...Missing }",
        "an unknown field": "{ vewer { roles } }",
        "an unknown argument": '{ node(uid: "x") { id } }',
        "an undefined variable": "{ node(id: $id) { id } }",
        "a wrong type": "{ node(id: {a: 1}) { id } }",
        "a leaf with leaves": "{ eventCursor { x } }",
        "another alphabet": "{ вьювер { роли } }",
    }
    for name, text in texts.items():
        yield document(f"malformed: {name}", text, "BAD_REQUEST")


def deep() -> Iterator[Attack]:
    """Nesting without end."""
    for levels in (60, 5000):
        yield document(f"{levels:,} fields deep", nested("{ viewer ", levels, "}"), "LIMIT_EXCEEDED", "depth")
        yield document(f"{levels:,} inline fragments deep", nested("{ ... ", levels, "}"), "LIMIT_EXCEEDED", "depth")
    yield document("5,000 lists deep", "{ node(id: " + nested("[", 5000, "]") + ") { id } }", "LIMIT_EXCEEDED", "depth")
    yield document(
        "5,000 objects deep", "{ node(id: " + nested("{a: ", 5000, "}") + ") { id } }", "LIMIT_EXCEEDED", "depth"
    )
    types = "query($a: " + nested("[", 5000, "]") + ") { viewer { roles } }"
    yield document("5,000 list types deep", types, "LIMIT_EXCEEDED", "depth")
    parents = "{ workspaces { nodes { " + "parent { " * 12 + "name" + " }" * 12 + " } } }"
    yield document("12 parents deep", parents, "LIMIT_EXCEEDED", "depth")
    yield Attack(
        "variables 5,000 deep",
        b'{"query":"{a}","variables":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}",
        "LIMIT_EXCEEDED",
        "nesting",
    )


def circular() -> Iterator[Attack]:
    """Fragments that spread each other."""
    yield document(
        "a circle of fragments", "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "BAD_REQUEST"
    )
    yield document("a fragment in itself", "{ ...a } fragment a on Query { viewer { roles } ...a }", "BAD_REQUEST")
    ring = "".join(f" fragment f{n} on Query {{ ...f{(n + 1) % 90} }}" for n in range(90))
    yield document("a circle of 90 fragments", "{ ...f0 }" + ring, "BAD_REQUEST")
    yield document("fragments that double 60 times", "{ ...f0 }" + spreading(60, 2), "LIMIT_EXCEEDED", "rootFields")
    yield document("fragments that multiply by nine", "{ ...f0 }" + spreading(40, 9), "LIMIT_EXCEEDED", "rootFields")
    yield document("fragments that multiply rows", growing(6), "LIMIT_EXCEEDED", "cost")
    many = "".join(f" fragment f{n} on Query {{ __typename }}" for n in range(101))
    yield document("101 fragments", "{ ...f0 }" + many, "LIMIT_EXCEEDED", "fragments")
    circle = "{ __schema { types { " + "fields { type { " * 4 + "name" + " } }" * 4 + " } } }"
    yield document("introspection in a circle", circle, "LIMIT_EXCEEDED", "introspectionLists")


def wide() -> Iterator[Attack]:
    """More of the same than anybody needs."""
    yield document(
        "101 aliases", "{ " + " ".join(f"a{n}: __typename" for n in range(101)) + " }", "LIMIT_EXCEEDED", "rootFields"
    )
    below = "{ viewer { " + " ".join(f"a{n}: roles" for n in range(101)) + " } }"
    yield document("101 aliases below the root", below, "LIMIT_EXCEEDED", "aliases")
    yield document("500 times the same field", "{ " + "__typename " * 500 + "}", "LIMIT_EXCEEDED", "repeats")
    yield document(
        "490 times the same field below", "{ viewer { " + "roles " * 490 + "} }", "LIMIT_EXCEEDED", "repeats"
    )
    yield document("120,000 fields", "{ " + "a " * 120_000 + "}", "LIMIT_EXCEEDED", "characters")
    yield document("30,000 fields", "{ " + "a " * 30_000 + "}", "LIMIT_EXCEEDED", "tokens")
    yield document("20,000 comments", "#\n" * 20_000 + "{ viewer { roles } }", "LIMIT_EXCEEDED", "tokens")
    logins = " ".join(f"a{n}: {LOGIN}" for n in range(1000))
    yield document("1,000 aliased logins", f"mutation {{ {logins} }}", "LIMIT_EXCEEDED", "characters")
    yield document("two aliased logins", f"mutation {{ {LOGIN} b: {LOGIN} }}", "LIMIT_EXCEEDED", "login")
    fragment = f"mutation {{ ...F ... {{ b: {LOGIN} }} }} fragment F on Mutation {{ {LOGIN} }}"
    yield document("two logins in fragments", fragment, "LIMIT_EXCEEDED", "login")
    yield document(
        "120 directives", "{ __typename " + "@include(if: true) " * 120 + "}", "LIMIT_EXCEEDED", "directives"
    )
    yield document(
        "a page of a million", "{ workspaces(first: 1000000) { nodes { id } } }", "LIMIT_EXCEEDED", "pageSize"
    )
    paged = "query($n: Int!) { workspaces(last: $n) { nodes { id } } }"
    yield document("a page of a million by a variable", paged, "LIMIT_EXCEEDED", "pageSize", n=1_000_000)
    pages = "{ workspaces(first: 100) { nodes { children { children { name } } } } }"
    yield document("pages in pages", pages, "LIMIT_EXCEEDED", "cost")
    ids = "query($i: [ID!]!) { nodes(ids: $i) { id } }"
    yield document("10,000 ids by a variable", ids, "LIMIT_EXCEEDED", "listItems", i=["x"] * 10_000)
    spreads = " ".join(f"...a{n}" for n in range(70))
    conflicts = f"{{ workspaces {{ nodes {{ {spreads} }} }} }}" + "".join(
        f" fragment a{n} on Workspace {{ parent {{ name tier }} }}" for n in range(70)
    )
    yield document("fields that have to be compared", conflicts, "LIMIT_EXCEEDED", "comparisons")


def long() -> Iterator[Attack]:
    """Texts without end."""
    yield document("a string of 1 MB", '{ node(id: "' + "x" * MIB + '") { id } }', "LIMIT_EXCEEDED")
    yield document(
        "a string of 1 MB in variables", "query($i: ID!) { node(id: $i) { id } }", "LIMIT_EXCEEDED", i="x" * MIB
    )
    for name, text in {
        "string": '{ node(id: "' + "x" * 250_000 + '") { id } }',
        "escape": '{ node(id: "' + "\\u0041" * 34_000 + '") { id } }',
        "block string": '{ node(id: """' + "x\n" * 80_000 + '""") { id } }',
        "name": "{ " + "x" * 250_000 + " }",
        "number": "{ workspaces(first: " + "9" * 250_000 + ") { nodes { id } } }",
        "comment": "#" + "x" * 250_000 + "\n{ __typename }",
        "white space": " " * 250_000 + "{ __typename }",
    }.items():
        yield document(f"250 KB of {name}", text, "LIMIT_EXCEEDED", "characters")
    yield document("60 KB of name", "{ " + "x" * 60_000 + " }", "BAD_REQUEST")
    yield document(
        "9,999 digits", "{ workspaces(first: " + "9" * 9_999 + ") { nodes { id } } }", "LIMIT_EXCEEDED", "pageSize"
    )


def bodies() -> Iterator[Attack]:
    """Bodies that inflate, are damaged, or are no JSON."""
    padded = orjson.dumps({"query": "{ __typename }"}) + b" " * (64 * MIB)
    zipped = {**JSON, "content-encoding": "gzip"}
    deflated = {**JSON, "content-encoding": "deflate"}
    yield Attack("64 MiB in a gzip", gzip.compress(padded, 9), "LIMIT_EXCEEDED", headers=zipped)
    yield Attack("64 MiB in a deflate", zlib.compress(padded, 9), "LIMIT_EXCEEDED", headers=deflated)
    yield Attack("a gzip in a gzip", gzip.compress(gzip.compress(padded, 9)), "BAD_REQUEST", headers=zipped)
    both = {**JSON, "content-encoding": "gzip, gzip"}
    yield Attack("two encodings", gzip.compress(gzip.compress(padded, 9)), "BAD_REQUEST", headers=both)
    yield Attack("half a gzip", gzip.compress(b'{"query":"{ __typename }"}')[:-9], "BAD_REQUEST", headers=zipped)
    yield Attack("no gzip at all", b'{"query":"{ __typename }"}', "BAD_REQUEST", headers=zipped)
    yield Attack("brotli", b"\x00", "BAD_REQUEST", headers={**JSON, "content-encoding": "br"})
    for name, body in {
        "nothing": b"",
        "a word": b"hello",
        "half an object": b'{"query":"{ __typename }"',
        "a number": b"7",
        "no UTF-8": b'{"query":"\xff\xfe"}',
        "NaN": b'{"query":"{ __typename }","variables":{"a":NaN}}',
        "a query that is a list": b'{"query":["{ __typename }"]}',
        "variables that are a text": b'{"query":"{ __typename }","variables":"{}"}',
        "an operation that is a number": b'{"query":"{ __typename }","operationName":7}',
        "extensions that are a list": b'{"query":"{ __typename }","extensions":[]}',
        "no query": b'{"variables":{}}',
        "a batch": b"[" + b",".join([b'{"query":"{ __typename }"}'] * 100) + b"]",
        "a digest that is none": b'{"documentId":"sha256:zz"}',
        "a digest of nothing": b'{"documentId":"' + b"0" * 64 + b'"}',
    }.items():
        yield Attack(f"body: {name}", body, "BAD_REQUEST")
    for number in ("1e400", "-" + "9" * 400):
        yield Attack(
            f"body: the number {number[:6]}",
            f'{{"query":"query($n:Int){{workspaces(first:$n){{totalCount}}}}","variables":{{"n":{number}}}}}'.encode(),
            "BAD_REQUEST",
        )


def foreign() -> Iterator[Attack]:
    """What a browser can be made to send across sites, and requests under other names."""
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "",
    ):
        body = b"query=%7B__typename%7D" if "form-url" in kind else b'{"query":"{ __typename }"}'
        yield Attack(
            f"content type {kind or 'missing'}", body, "BAD_REQUEST", headers={"content-type": kind} if kind else {}
        )
    yield Attack("a query by GET", b"", "BAD_REQUEST", method="GET", path="/graphql?query=%7B__typename%7D", headers={})
    yield Attack(
        "a mutation by GET",
        b"",
        "BAD_REQUEST",
        method="GET",
        path="/graphql?query=mutation%7B__typename%7D",
        headers={},
    )
    yield from _strangers("", "/graphql", b'{"query":"{ __typename }"}')
    yield from _strangers("beats, ", "/ingest/heartbeats", b"[]")
    yield from _strangers("alerts, ", "/ingest/alertmanager", b'{"alerts":[]}')


def _strangers(what: str, path: str, good: bytes) -> Iterator[Attack]:
    """A good request of another page, or to another host."""
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "http://localhost:1"):
        yield Attack(f"{what}origin {origin}", good, "FORBIDDEN", path=path, headers={**JSON, "origin": origin})
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[::1].evil.example"):
        yield Attack(f"{what}host {host}", good, "BAD_REQUEST", path=path, headers={**JSON, "host": host})
    rebound = {**JSON, "host": "evil.example:80", "origin": "http://evil.example:80"}
    yield Attack(f"{what}a name that was rebound", good, "BAD_REQUEST", path=path, headers=rebound)


def signed_out() -> Iterator[Attack]:
    """What nobody may ask without credentials."""
    for name, text in {
        "__schema": "{ __schema { queryType { name } } }",
        "__type": '{ __type(name: "User") { name } }',
    }.items():
        yield Attack(f"anonymous {name}", orjson.dumps({"query": text}), "UNAUTHENTICATED", signed_in=False)
    hidden = "{ ...F } fragment F on Query { ... { a: __schema { queryType { name } } } }"
    yield Attack(
        "anonymous introspection in a fragment", orjson.dumps({"query": hidden}), "UNAUTHENTICATED", signed_in=False
    )


CORPUS: Final = [
    *malformed(),
    *deep(),
    *circular(),
    *wide(),
    *long(),
    *bodies(),
    *foreign(),
    *signed_out(),
]
