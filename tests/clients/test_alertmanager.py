"""This module is where Debian's Prometheus and Alertmanager deliver a real firing and its end, live.

Their configuration is the one that docs/alerts.md shows, with this machine's ports and shorter times.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.clients.conftest import ROOT, Gateway
from tests.patience import DEADLINE
from tests.report import record

pytestmark = pytest.mark.clients

CONFIGURATION: Final = ROOT / "deploy" / "alerting"
_LOGIN: Final = "mutation($input: LoginInput!) { login(input: $input) { accessToken userErrors { message } } }"
_FEED: Final = """subscription { alertFeed(filter: {alertName: "InstanceDown"}) { __typename ... on AlertItem {
  kind alert { id alertName status severity instance job annotations startsAt endsAt fingerprint } } } }"""
_QUICK: Final = {
    "15s": "1s",
    "group_wait: 10s": "group_wait: 1s",
    "group_interval: 30s": "group_interval: 1s",
    "for: 1m": "for: 0s",
}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class _Metrics(BaseHTTPRequestHandler):
    """What Prometheus scrapes; it says that it is there."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"one 1\n")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def watched(port: int) -> Iterator[None]:
    """An instance that answers while the block lasts."""
    server = HTTPServer(("127.0.0.1", port), _Metrics)
    thread = threading.Thread(target=server.serve_forever, name="watched instance", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE)


def configured(folder: Path, name: str, places: dict[str, str]) -> Path:
    """A copy of a configuration with this machine's places and shorter times."""
    text = (CONFIGURATION / name).read_text()
    for said, here in (places | _QUICK).items():
        text = text.replace(said, here)
    assert ".example" not in text
    (folder / name).write_text(text)
    return folder / name


@contextmanager
def running(log: Path, *command: str) -> Iterator[None]:
    """A program, until the block ends."""
    program = shutil.which(command[0])
    assert program is not None, f"{command[0]} is not installed: deploy/install-peers"
    with log.open("wb") as out:
        process = subprocess.Popen([program, *command[1:]], stdout=out, stderr=out)
        try:
            yield
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            process.wait(DEADLINE)


@contextmanager
def monitoring(folder: Path, gateway: Gateway, instance: int) -> Iterator[None]:
    """Prometheus and Alertmanager, which watch one instance and tell the gateway."""
    ports = {name: free_port() for name in ("prometheus", "alertmanager")}
    key = folder / "signalbox.key"
    key.write_text(gateway.key("acme").removeprefix("Bearer "))
    places = {
        "http://signalbox.example:8000": gateway.url,
        "signalbox.example:8000": gateway.url.removeprefix("http://"),
        "/etc/prometheus/signalbox.key": str(key),
        "/etc/prometheus/signalbox-rules.yml": str(folder / "signalbox-rules.yml"),
        "alertmanager.example:9093": f"127.0.0.1:{ports['alertmanager']}",
        "web-server-1.example:9100": f"127.0.0.1:{instance}",
    }
    files = {
        name: configured(folder, f"{name}.yml", places) for name in ("signalbox-rules", "prometheus", "alertmanager")
    }
    with ExitStack() as stack:
        stack.enter_context(
            running(
                folder / "alertmanager.log",
                "prometheus-alertmanager",
                f"--config.file={files['alertmanager']}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
                "--cluster.listen-address=",
            )
        )
        stack.enter_context(
            running(
                folder / "prometheus.log",
                "prometheus",
                f"--config.file={files['prometheus']}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            )
        )
        yield


def items(client: httpx.Client, gateway: Gateway) -> Iterator[dict[str, Any]]:
    """What the feed sends to a viewer, from the first item on."""
    said = {"input": gateway.credentials("acme", "viewer")}
    login = client.post(gateway.graphql, json={"query": _LOGIN, "variables": said}).json()["data"]["login"]
    headers = {"authorization": f"Bearer {login['accessToken']}", "accept": "text/event-stream"}
    with client.stream("POST", gateway.graphql, json={"query": _FEED}, headers=headers) as response:
        for line in response.iter_lines():
            if line.startswith("data:") and line.removeprefix("data:").strip():
                payload = json.loads(line.removeprefix("data:"))
                assert "errors" not in payload, payload
                if "data" in payload:
                    yield payload["data"]["alertFeed"]


def test_a_real_firing_and_its_end_arrive_in_the_feed(gateway: Gateway, tmp_path: Path) -> None:
    instance = free_port()
    started = time.monotonic()
    with httpx.Client(trust_env=False, timeout=DEADLINE) as client, ExitStack() as stack:
        feed = items(client, gateway)
        assert next(feed)["__typename"] == "StreamReady"
        stack.enter_context(monitoring(tmp_path, gateway, instance))
        firing = next(one for one in feed if one["__typename"] == "AlertItem")
        assert (firing["kind"], firing["alert"]["status"]) == ("alert.received", "FIRING")
        assert firing["alert"]["severity"] == "CRITICAL"
        assert (firing["alert"]["instance"], firing["alert"]["job"]) == (f"127.0.0.1:{instance}", "node-exporter")
        assert firing["alert"]["annotations"]["summary"] == f"127.0.0.1:{instance} does not answer"
        stack.enter_context(watched(instance))
        ended = next(one for one in feed if one["__typename"] == "AlertItem")
        assert (ended["kind"], ended["alert"]["status"]) == ("alert.resolved", "RESOLVED")
        assert ended["alert"]["id"] == firing["alert"]["id"]
        assert ended["alert"]["endsAt"] > ended["alert"]["startsAt"]
        feed.close()  # type: ignore[attr-defined]
    shows = "Debian's Prometheus and Alertmanager deliver a real firing and its resolution into alertFeed"
    record(7, shows, 1, f"both within {time.monotonic() - started:.1f} s")
