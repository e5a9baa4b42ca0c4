"""This module is where the gateway asks other servers, which it was named by tenants.

Security boundary: a name is resolved here once, and the connection goes to the very address that was checked. What is
not on the public Internet is refused unless the settings admit it, link-local and metadata addresses always. Redirects
are not followed, proxies not asked, answers cut off; without TLS only what the settings admit is asked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import httpx

from resolvers.fetching import AddressRefused, FetchFailed, TookTooLong

TIMEOUT_SECONDS: Final = 5.0
_CONNECTIONS: Final = 20
_PASSED_OVER_BYTES: Final = 4_096
"""Of an answer that nobody reads: enough that most servers get to the end of what they say."""
_PASSED_OVER_SECONDS: Final = 1.0

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NEVER: Final[tuple[Network, ...]] = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8",  # "this host": on Linux it reaches 127.0.0.1
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "fe80::/10",
        "100.100.100.200/32",  # metadata of Alibaba Cloud
        "192.0.0.192/32",  # metadata of Oracle Cloud
        "168.63.129.16/32",  # Azure's wire server
        "fd00:ec2::/32",  # metadata of AWS over IPv6
        "fd20:ce::/32",  # metadata of Google Cloud over IPv6
    )
)
_UNSPECIFIED: Final = IPv6Address("::")
_NAT64: Final = ip_network("64:ff9b::/96")
_TRANSLATED: Final = (ip_network("64:ff9b:1::/48"), ip_network("2001::/32"), ip_network("::/96"))


class Egress:
    """A client for addresses that others chose."""

    def __init__(
        self,
        allow: Sequence[Network] = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
        trust: ssl.SSLContext | None = None,
        connections: int = _CONNECTIONS,
    ) -> None:
        """``trust`` stands before the certificates that everybody trusts."""
        self._allow = tuple(allow)
        self._connections = connections
        self._trust = trust
        self._timeout = timeout_seconds

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # Made when first needed: it reads every root certificate there is, and most gateways ask nobody.
        return httpx.AsyncClient(
            verify=self._trust if self._trust is not None else True,
            trust_env=False,
            follow_redirects=False,
            timeout=self._timeout,
            limits=httpx.Limits(max_connections=self._connections, max_keepalive_connections=0),
            headers={"accept-encoding": "identity", "user-agent": "signalbox"},
        )

    async def close(self) -> None:
        """Close what is open."""
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def get(self, url: str, *, limit_bytes: int, accept: str = "application/json") -> bytes:
        """The body of a 200 answer. Raises FetchFailed for anything else."""
        return await self._send("GET", url, limit_bytes, {"accept": accept}, None)

    async def post(self, url: str, body: bytes, *, limit_bytes: int, content_type: str = "application/json") -> bytes:
        """The body of a 2xx answer to ``body``. Raises FetchFailed for anything else."""
        return await self._send("POST", url, limit_bytes, {"content-type": content_type}, body)

    async def notify(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer to ``body``; what it says besides is passed over. Raises FetchFailed without one."""
        with _trouble(url):
            async with asyncio.timeout(self._timeout), self._asked("POST", url, headers, body) as response:
                with suppress(TimeoutError, httpx.HTTPError):
                    async with asyncio.timeout(_PASSED_OVER_SECONDS):
                        await _pass_over(response)
                return response.status_code

    def refuses(self, url: str) -> bool:
        """Whether it is known without looking any name up that this address is not asked."""
        try:
            asked = httpx.URL(url)
        except httpx.InvalidURL:
            return True
        if asked.scheme not in {"http", "https"} or not asked.host or asked.userinfo:
            return True
        try:
            address = ip_address(asked.host)
        except ValueError:
            return False
        return not self.admits(address, is_plain=asked.scheme == "http")

    async def _send(self, method: str, url: str, limit: int, headers: dict[str, str], body: bytes | None) -> bytes:
        with _trouble(url):
            async with asyncio.timeout(self._timeout), self._asked(method, url, headers, body) as response:
                if not 200 <= response.status_code < 300:
                    raise FetchFailed(f"{_host(url)} answered {response.status_code}")
                read = bytearray()
                async for piece in response.aiter_raw():
                    read += piece
                    if len(read) > limit:
                        raise FetchFailed(f"{_host(url)} answered more than {limit} bytes")
                return bytes(read)

    @asynccontextmanager
    async def _asked(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        asked = httpx.URL(url)
        if asked.scheme not in {"http", "https"} or not asked.host or asked.userinfo:
            raise AddressRefused("the address is none of http or https")
        port = asked.port or (443 if asked.scheme == "https" else 80)
        address = await self._resolve(asked.host, port, is_plain=asked.scheme == "http")
        request = self._client.build_request(
            method,
            asked.copy_with(host=str(address)),
            # Named as it was asked for, so that the server and its certificate are those of the name.
            headers={**headers, "host": asked.netloc.decode()},
            content=body,
            extensions={"sni_hostname": asked.raw_host.decode()},
        )
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _resolve(self, host: str, port: int, *, is_plain: bool) -> Address:
        """An address of ``host`` that may be asked. Raises FetchFailed when there is none."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for one in found:
            address = ip_address(one[4][0])
            if self.admits(address, is_plain=is_plain):
                return address
        raise AddressRefused(f"{host} has no address that may be asked")

    def admits(self, address: Address, *, is_plain: bool = False) -> bool:
        """Whether ``address`` may be asked; ``is_plain`` without TLS."""
        for one in _inner(address):
            named = any(one in network for network in self._allow)
            never = any(one in network for network in _NEVER) or one.is_multicast or one.is_unspecified
            if never or not (named or (one.is_global and not is_plain)):
                return False
        return True


def _inner(address: Address) -> list[Address]:
    """Every address that is reached by asking ``address``: an IPv4 one in IPv6 clothes is judged as itself."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    if any(address in network for network in _TRANSLATED) and not address.is_loopback:
        # Local translation, Teredo and what is long deprecated: nobody needs them, and they reach anything.
        return [_UNSPECIFIED]
    return [address]


async def _pass_over(response: httpx.Response) -> None:
    seen = 0
    async for piece in response.aiter_raw():
        seen += len(piece)
        if seen >= _PASSED_OVER_BYTES:
            return


@contextmanager
def _trouble(url: str) -> Iterator[None]:
    """Whatever goes wrong in the block is a FetchFailed that names the host and nothing else of ``url``."""
    try:
        yield
    except (TimeoutError, httpx.TimeoutException) as error:
        raise TookTooLong(f"{_host(url)} did not answer: {type(error).__name__}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, ValueError) as error:
        raise FetchFailed(f"{_host(url)} did not answer: {type(error).__name__}") from error


def _host(url: str) -> str:
    try:
        return httpx.URL(url).host or "the address"
    except httpx.InvalidURL:
        return "the address"
