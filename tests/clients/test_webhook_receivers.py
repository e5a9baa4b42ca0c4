"""This module is where receivers that were written after the documentation check what a whole gateway sends them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest

from tests.clients.conftest import ROOT, Gateway, Node, running
from tests.patience import DEADLINE
from tests.report import record

pytestmark = pytest.mark.clients

LOGIN = "mutation($input: LoginInput!) { login(input: $input) { accessToken userErrors { code } } }"
MAKE = """mutation($input: CreateWebhookEndpointInput!) { createWebhookEndpoint(input: $input) {
  webhookEndpoint { id } secret userErrors { code message } } }"""
ROTATE = """mutation($input: RotateWebhookSecretInput!) { rotateWebhookSecret(input: $input) {
  secret userErrors { code message } } }"""
PING = """mutation($input: TestWebhookEndpointInput!) { testWebhookEndpoint(input: $input) {
  webhookDelivery { id } userErrors { code message } } }"""


@dataclass(frozen=True, slots=True)
class Request:
    """One delivery as it arrived."""

    headers: dict[str, str]
    body: bytes

    def as_json(self, secret: str, **changed: str) -> dict[str, Any]:
        """What a receiver is given, and the secret that it has."""
        return {
            "secret": secret,
            "headers": self.headers | {name.replace("_", "-"): value for name, value in changed.items()},
            "body": base64.b64encode(self.body).decode(),
        }


@dataclass(slots=True)
class Receiver:
    """A server that answers well and remembers what it was sent."""

    url: str = ""
    requests: Queue[Request] = field(default_factory=Queue)

    def next(self) -> Request:
        """The next request, once it is there."""
        return self.requests.get(timeout=DEADLINE)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.requests.put(Request({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever, name="receiver")
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that may tell somebody on this machine."""
    data_dir = tmp_path_factory.mktemp("webhooks")
    with running(data_dir, "--demo", SIGNALBOX_EGRESS_ALLOW="127.0.0.0/8") as url:
        yield Gateway(url, json.loads((data_dir / "demo.json").read_text())["tenants"])


def _does(gateway: Gateway, document: str, authorization: str | None = None, **said: Any) -> dict[str, Any]:
    headers = {"authorization": authorization} if authorization else {}
    response = httpx.post(
        gateway.graphql, json={"query": document, "variables": {"input": said}}, headers=headers, timeout=DEADLINE
    )
    answer = response.json()
    assert "errors" not in answer, answer
    (payload,) = answer["data"].values()
    assert payload["userErrors"] == [], payload
    return dict(payload)


def test_the_lines_of_the_documentation_verify_in_node_what_a_gateway_sends(
    gateway: Gateway, node: Node, receiver: Receiver, tmp_path: Path
) -> None:
    snippet = tmp_path / "verify.mjs"
    page = (ROOT / "docs" / "webhooks.md").read_text()
    snippet.write_text(page.partition("```js\n")[2].partition("```")[0])
    admin = f"Bearer {_does(gateway, LOGIN, **gateway.credentials('acme', 'admin'))['accessToken']}"
    made = _does(gateway, MAKE, admin, url=receiver.url, eventKinds=["nothing.happens"])
    endpoint, old = made["webhookEndpoint"]["id"], made["secret"]
    _does(gateway, PING, admin, id=endpoint)
    first = receiver.next()
    new = _does(gateway, ROTATE, admin, id=endpoint)["secret"]
    _does(gateway, PING, admin, id=endpoint)
    second = receiver.next()
    other = "whsec_" + base64.b64encode(b"x" * 32).decode()
    good = [first.as_json(old), second.as_json(old), second.as_json(new)]
    bad = [
        first.as_json(new),
        first.as_json(other),
        Request(first.headers, first.body + b" ").as_json(old),
        first.as_json(old, webhook_timestamp="1614265330"),
        first.as_json(old, webhook_timestamp="soon"),
        first.as_json(old, webhook_id="msg_of_another"),
        first.as_json(old, webhook_signature="v1,"),
    ]
    assert node("webhook.mjs", str(snippet), json.dumps(good + bad)) == [True] * len(good) + [False] * len(bad)
    record(
        6,
        "signatures verify with the lines of the documentation, in Node",
        len(good),
        "with both secrets of a rotation",
    )
