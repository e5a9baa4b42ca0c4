"""This module is where uvicorn is run our way: a socket bound before anything starts, streams drained at the end."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from rich.console import Console

from gateway.app import GatewayApp, create_app, drain, transport_options
from gateway.servers import ServerError, one_line
from gateway.settings import Settings
from gateway.transports.server_protocols import server_options

SHUTDOWN_SECONDS = 15
_LAST_STEPS_SECONDS = 2
"""For what uvicorn cancels in the end, and for the services' own stops."""


@contextmanager
def bound(settings: Settings) -> Iterator[tuple[Settings, socket.socket]]:
    """A listening socket, and the settings with the port it has. Raises ServerError when the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise ServerError(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or one_line(error)}; "
                "choose another with --port or SIGNALBOX_PORT."
            ) from error
        listener.set_inheritable(True)
        yield settings.model_copy(update={"port": listener.getsockname()[1]}), listener
    finally:
        listener.close()


class GatewayServer(uvicorn.Server):
    """uvicorn's server: readiness fails and streams drain before connections are closed; a signal ends it with 0."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; uvicorn would raise the signal again afterwards, and we would not exit with 0."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then take what will live for ever out of the collector's sight: 1.6 times on big answers."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        # Of more objects at a time, a collection is a pause that a thousand viewers notice: 50,000 took 20 to 50 ms.
        gc.set_threshold(10_000, 50, 20)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse newcomers, drain, then uvicorn's own end in what is left of the time."""
        deadline = time.monotonic() + SHUTDOWN_SECONDS - _LAST_STEPS_SECONDS
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        application = application_of(self.config.loaded_app)
        if application is not None:
            await drain(application)
        # A client that does not read holds its stream up to the send deadline: it must not hold up the end.
        self.config.timeout_graceful_shutdown = max(1, int(deadline - time.monotonic()))
        await super().shutdown(sockets)


def serve_until_signal(settings: Settings, listener: socket.socket) -> None:
    """Serve in this process until SIGINT or SIGTERM."""
    options: dict[str, Any] = {
        **server_options(transport_options(settings)),
        "loop": "uvloop",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "backlog": 2048,
        # Told here, or uvicorn would believe whoever connects from this machine.
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": settings.trusted_proxies,
    }
    GatewayServer(uvicorn.Config(create_app(settings), **options)).run(sockets=[listener])


def application_of(loaded: Any) -> GatewayApp | None:
    """Our application under whatever uvicorn wrapped it in."""
    while loaded is not None and not isinstance(loaded, GatewayApp):
        loaded = getattr(loaded, "app", None)
    return loaded


def tell(settings: Settings, console: Console) -> None:
    """Say where the gateway is and how to get in."""
    console.print(f"[bold]Signalbox[/bold] serves {settings.url}/graphql  (profile {settings.profile.value})")
    if settings.is_demo:
        console.print(f"  demo logins and keys: {settings.data_dir / 'demo.json'}")
        console.print(
            "  sign in as [bold]operator@acme.example[/bold] at tenant [bold]acme[/bold]; Ctrl-C stops everything"
        )
