"""This module is where a broker's URL becomes connection settings, with none left to redis-py's defaults."""

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

PUBLISH_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 0.2  # twice and a pause fit into PUBLISH_SECONDS
_HANDSHAKE_SECONDS: Final = 1.0
_SCHEMES: Final = ("redis", "rediss", "unix")


def retry_once() -> Retry:
    """For publishing. redis-py retries three times when constructed, never when made from a URL."""
    return Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.05), 1)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the broker is and how to talk to it. Its repr shows no password."""

    is_cluster: bool
    _options: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """redis, rediss, unix, cluster; `?cluster=true` makes one of the first two a cluster's.

        What the URL says about timeouts, protocol and decoding is overruled. Raises ValueError.
        """
        parts = urlsplit(url)
        query = parse_qsl(parts.query)
        is_cluster = parts.scheme == "cluster" or ("cluster", "true") in query
        scheme = "redis" if parts.scheme == "cluster" else parts.scheme
        if scheme not in _SCHEMES:
            raise ValueError(f"a broker's URL begins with redis, rediss, unix or cluster, not {scheme!r}")
        if is_cluster and scheme == "unix":
            raise ValueError("a cluster is reached over TCP, not over a unix socket")
        kept = urlencode([(name, value) for name, value in query if name != "cluster"])
        options: dict[str, Any] = {**parse_url(parts._replace(scheme=scheme, query=kept).geturl())}
        for pool_option in ("max_connections", "timeout"):
            options.pop(pool_option, None)
        options |= {
            "protocol": 2,  # replies and messages in one sequence, the same on every broker since Redis 2
            "decode_responses": False,
            "driver_info": None,
            "client_name": "signalbox",
            "health_check_interval": 0,  # the canary does it
        }
        address = cls(is_cluster, options)
        try:
            address.connection()
        except TypeError as error:
            raise ValueError(f"the broker's URL has an unknown option: {error}") from error
        return address

    @property
    def database(self) -> int:
        return int(self._options.get("db", 0))

    @property
    def publishing(self) -> dict[str, Any]:
        """Settings of the publisher's connections: fail fast, try once more."""
        return self._options | {
            "socket_timeout": _ANSWER_SECONDS,
            "socket_connect_timeout": _ANSWER_SECONDS,
            "retry": retry_once(),
        }

    def connection(self, host: str | None = None, port: int | None = None) -> AbstractConnection:
        """An unopened connection for one link, to another node of the cluster if named.

        Never tries again by itself: redis-py's own reconnect is silent, and a link must not be.
        """
        options = self._options | {
            "socket_timeout": _HANDSHAKE_SECONDS,
            "socket_connect_timeout": _HANDSHAKE_SECONDS,
        }
        if host is not None:
            options |= {"host": host, "port": port}
        kind: type[AbstractConnection] = options.pop("connection_class", Connection)
        return kind(**options)
