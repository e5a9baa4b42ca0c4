"""This module is where addresses that tenants choose are tried against a trap: whatever their form, nobody calls."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any, Final

import pytest

from gateway.egress import Egress
from gateway.embedded import EmbeddedPostgres
from models import WebhookDeliveryState, WebhookError
from models.errors import Refusal
from resolvers.call import Services
from resolvers.webhook_rules import WebhookRules
from resolvers.webhooks import NewSecret, ping_webhook_endpoint
from tests.gateway.demo_house import house, new_database
from tests.report import record
from tests.resolvers.hooks import Hooks
from tests.resolvers.receiver import Notice, Receiver, receiving

SHOW: Final = "without that allowance, and for a corpus of address forms, rebinding and redirects: zero connections"
ONCE: Final = WebhookRules(delays_seconds=(), timeout_seconds=5.0)

FORMS: Final = (
    "http://127.0.0.1:{port}/hook",
    "https://127.0.0.1:{port}/hook",
    "http://127.0.0.1:{port}/hook#@example.org/",
    "http://127.0.0.1:{port}/hook?@example.org/",
    "http://127.0.0.1.:{port}/hook",
    "http://127.1.2.3:{port}/hook",
    "http://localhost:{port}/hook",
    "http://localhost.:{port}/hook",
    "http://LOCALHOST:{port}/hook",
    "http://localhost.localdomain:{port}/hook",
    "http://2130706433:{port}/hook",
    "http://017700000001:{port}/hook",
    "http://0x7f000001:{port}/hook",
    "http://0x7F.0x0.0x0.0x1:{port}/hook",
    "http://0177.0.0.01:{port}/hook",
    "http://127.1:{port}/hook",
    "http://127.0.1:{port}/hook",
    "http://0:{port}/hook",
    "http://0.0.0.0:{port}/hook",
    "http://[::1]:{port}/hook",
    "http://[::]:{port}/hook",
    "http://[0:0:0:0:0:0:0:1]:{port}/hook",
    "http://[::ffff:127.0.0.1]:{port}/hook",
    "http://[::ffff:7f00:1]:{port}/hook",
    "http://[::ffff:0:127.0.0.1]:{port}/hook",
    "http://[::127.0.0.1]:{port}/hook",
    "http://[64:ff9b::7f00:1]:{port}/hook",
    "http://[64:ff9b::127.0.0.1]:{port}/hook",
    "http://[64:ff9b:1::7f00:1]:{port}/hook",
    "http://[2002:7f00:1::]:{port}/hook",
    "http://[2001:0:7f00:1::80ff:fffe]:{port}/hook",
    "http://[fe80::1%25lo]:{port}/hook",
    "http://user@127.0.0.1:{port}/hook",
    "http://user:word@127.0.0.1:{port}/hook",
    "http://example.org@127.0.0.1:{port}/hook",
    "http://example.org:80@127.0.0.1:{port}/hook",
    "http://127.0.0.1:{port}\\@example.org/hook",
    "http://①②⑦.⓪.⓪.①:{port}/hook",
    "http://127。0。0。1:{port}/hook",
    "http://%31%32%37.0.0.1:{port}/hook",
    "http://127.0.0.1%00.example.org:{port}/hook",
    "http://10.0.0.1:{port}/hook",
    "http://172.16.0.1:{port}/hook",
    "http://192.168.0.1:{port}/hook",
    "http://100.64.0.1:{port}/hook",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "ftp://127.0.0.1:{port}/hook",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/hook",
    "//127.0.0.1:{port}/hook",
    "http:127.0.0.1:{port}",
)
"""Ways to say this machine, its network, or a cloud's metadata."""


@pytest.fixture(scope="module")
async def services(postgres: EmbeddedPostgres) -> AsyncIterator[Services]:
    """A gateway over a database of its own: workers look through every tenant's log."""
    async with house(await new_database(postgres.url, "webhook_addresses")) as running:
        yield running


@pytest.fixture
async def bare() -> AsyncIterator[Egress]:
    """A client as it is without any setting."""
    made = Egress(timeout_seconds=ONCE.timeout_seconds)
    yield made
    await made.close()


@pytest.fixture
async def hooks(services: Services, bare: Egress) -> AsyncIterator[Hooks]:
    made = await Hooks.start(services, bare)
    yield made
    await made.hush()


@pytest.fixture
async def trap() -> AsyncIterator[Receiver]:
    """Somebody on every address of this machine, who counts who comes."""
    async with receiving("0.0.0.0") as four, receiving("::1", port=four.port) as six:
        yield four
        assert six.accepts == 0


@pytest.fixture
async def names_lead_home(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Every name there is leads to this machine; numbers are what the system's resolver takes them for."""
    asked: Counter[str] = Counter()

    async def look_up(host: str, port: int, **_: Any) -> list[Any]:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            asked[host] += 1
            four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
            return [four, (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    return asked


async def _told(hooks: Hooks, made: NewSecret, url: str, egress: Egress | None = None) -> WebhookError | None:
    """How the telling of an endpoint at ``url`` fails, whatever its use case would say of the address."""
    await hooks.set(made, url=url)
    await ping_webhook_endpoint(hooks.call(), id=made.webhook_endpoint.id)
    assert await hooks.worker(ONCE, egress).send() == 1
    last = (await hooks.deliveries())[-1]
    assert last.state is WebhookDeliveryState.DEAD
    return last.last_error


async def test_no_form_of_an_address_leads_to_a_connection(
    hooks: Hooks, trap: Receiver, names_lead_home: Counter[str]
) -> None:
    made = await hooks.endpoint("https://hooks.example/")
    seen: dict[str, WebhookError | None] = {}
    for form in FORMS:
        seen[form] = await _told(hooks, made, form.format(port=trap.port))
    assert trap.accepts == 0
    assert set(seen.values()) <= {WebhookError.ADDRESS_REFUSED, WebhookError.CONNECTION_FAILED}
    assert seen[FORMS[0]] is WebhookError.ADDRESS_REFUSED
    assert len(FORMS) >= 40
    refused = sum(one is WebhookError.ADDRESS_REFUSED for one in seen.values())
    figure = f"{refused} refused, {len(FORMS) - refused} no address at all, 0 connections"
    record(6, SHOW, len(FORMS), figure)


async def test_the_trap_hears_whoever_is_allowed(hooks: Hooks, trap: Receiver) -> None:
    # Or its silence would prove nothing.
    made = await hooks.endpoint("https://hooks.example/")
    await hooks.set(made, url=f"http://127.0.0.1:{trap.port}/hook")
    await ping_webhook_endpoint(hooks.call(), id=made.webhook_endpoint.id)
    allowed = Egress([ip_network("127.0.0.1/32")])
    await hooks.worker(ONCE, allowed).send()
    await allowed.close()
    assert (trap.accepts, [one.said["type"] for one in trap.taken]) == (1, ["signalbox.ping"])


async def test_a_name_that_leads_elsewhere_the_second_time_is_asked_where_it_led_the_first(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[str] = []

    async def rebinding(host: str, port: int, **_: Any) -> list[Any]:
        answers.append("127.0.0.2" if not answers else "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[-1], port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding)
    # 127.0.0.2 is admitted and nobody is there; at 127.0.0.1 somebody waits.
    egress = Egress([ip_network("127.0.0.2/32")])
    made = await hooks.endpoint("https://hooks.example/")
    async with receiving("127.0.0.1") as trap:
        url = f"http://rebinding.example:{trap.port}/hook"
        assert await _told(hooks, made, url, egress) is WebhookError.CONNECTION_FAILED
        assert answers == ["127.0.0.2"]
        assert await _told(hooks, made, url, egress) is WebhookError.ADDRESS_REFUSED
        assert answers == ["127.0.0.2", "127.0.0.1"]
        assert trap.accepts == 0
    await egress.close()
    record(6, SHOW, 2, "a name that leads elsewhere the second time: 0 connections")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(hooks: Hooks, trap: Receiver, status: int) -> None:
    async def elsewhere(_: Notice, __: int) -> bytes:
        target = f"http://127.0.0.1:{trap.port}/hook"
        return f"HTTP/1.1 {status} Go\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()

    egress = Egress([ip_network("127.0.0.2/32")])
    made = await hooks.endpoint("https://hooks.example/")
    async with receiving("127.0.0.2", elsewhere) as receiver:
        assert await _told(hooks, made, receiver.url, egress) is WebhookError.REFUSED
        assert receiver.accepts == 1
    assert trap.accepts == 0
    await egress.close()


@pytest.mark.parametrize("form", [one for one in FORMS if "127.0.0.1:{port}/hook" in one and "[" not in one])
async def test_an_address_that_is_known_to_be_refused_is_refused_when_it_is_said(
    services: Services, bare: Egress, form: str
) -> None:
    hooks = await Hooks.start(services, bare)
    guarded = hooks.worker(ONCE)
    url = form.format(port=8080)
    assert guarded.refuses(url)
    assert not guarded.refuses("https://hooks.example/signalbox")
    if "@127" in url or not url.startswith("http"):
        with pytest.raises(Refusal):
            await hooks.endpoint(url)
