"""This module is where the transports' limits and times stand, with the values that the gateway starts from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Limits and times of every transport; durations are in seconds, sizes in bytes."""

    allow_get: bool = False
    graphiql: bool = False
    # Exact origins ("https://app.example.com") and hosts ("example.com", "example.com:8443"); "*" admits any.
    allowed_origins: frozenset[str] = field(default_factory=frozenset)
    allowed_hosts: frozenset[str] = frozenset({"*"})

    body_limit: int = 256 * 1024
    body_timeout: float = 15.0
    authenticate_timeout: float = 5.0

    # One inbound WebSocket message. uvicorn's ws_max_size is set to the same.
    message_limit: int = 64 * 1024
    init_timeout: float = 5.0
    ping_interval: float = 25.0
    ping_patience: float = 8.0
    # After its token's expiry a socket may still renew for this long before it is closed with 4403.
    expiry_grace: float = 30.0

    operations_per_socket: int = 20
    connections_per_user: int = 10
    connections_per_tenant: int = 500

    # A connection's outbox: frames wait for a slow reader up to these, and a single write up to the deadline.
    outbox_frames: int = 256
    outbox_bytes: int = 1024 * 1024
    send_deadline: float = 10.0

    # Comments (SSE) and empty parts (multipart) that keep proxies from ending an idle stream.
    keep_alive_interval: float = 12.0
    # How long a stream's generator may take to clean up after itself.
    cleanup_timeout: float = 5.0
