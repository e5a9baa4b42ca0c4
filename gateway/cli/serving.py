"""This module is where the gateway, its worker and a simulated fleet are started."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gateway import settings as configuration
from gateway.anchors import anchor_target
from gateway.demo import seed
from gateway.embedded.process import tied_command
from gateway.logs import configure
from gateway.processes import Processes
from gateway.runtime import running_services
from gateway.server import bound, serve_until_signal, tell
from gateway.servers import servers
from gateway.settings import Settings
from gateway.worker import Worker

DataDir = Annotated[Path | None, typer.Option(help="Where embedded servers and demo keys keep their files.")]


async def _demo(settings: Settings) -> None:
    async with running_services(settings) as services:
        await seed(services, settings.data_dir, settings.url)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve.")] = None,
    data_dir: DataDir = None,
    demo: Annotated[bool, typer.Option("--demo", help="Demo profile with demo data.")] = False,
    worker: Annotated[bool | None, typer.Option("--worker/--no-worker", help="Run a worker inside.")] = None,
    simulate: Annotated[int, typer.Option(help="Simulated agents beside the gateway (demo only).", min=0)] = 0,
) -> None:
    """Run the gateway; embedded servers only where no address is configured."""
    given: dict[str, Any] = {"host": host, "port": port, "workers": workers, "data_dir": data_dir, "worker": worker}
    settings = configuration.for_serving(**given, profile="demo" if demo else None)
    configure(settings.log_format)
    console = Console(stderr=True)
    with (
        bound(settings) as (listening, listener),
        servers(listening, lambda line: console.print(f"[dim]· {line}")) as ready,
    ):
        if ready.is_demo:
            asyncio.run(_demo(ready))
        with _fleet(ready, simulate) if ready.is_demo and simulate else contextlib.nullcontext():
            tell(ready, console)
            if ready.workers > 1:
                Processes(ready, listener).run()
            else:
                serve_until_signal(ready, listener)


@contextlib.contextmanager
def _fleet(settings: Settings, agents: int) -> Any:
    command = [sys.executable, "-m", "gateway", "simulate", "--agents", str(agents), "--quiet"]
    # Tied to us: `kill -9` of the gateway must not leave a fleet that knocks at a closed door.
    tied = tied_command([*command, "--data-dir", str(settings.data_dir)], signal.SIGTERM)
    process = subprocess.Popen(tied)  # noqa: S603 - our own command
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve_socket(descriptor: Annotated[int, typer.Option(help="The listening socket.")]) -> None:
    """One of several processes of 'serve', which starts it with its settings in the environment."""
    settings = configuration.load()
    configure(settings.log_format)
    serve_until_signal(settings, socket.socket(fileno=descriptor))


def worker(data_dir: DataDir = None) -> None:
    """Run only the worker: liveness and expiry on every worker, retention on the leader."""
    settings = configuration.for_serving(data_dir=data_dir)
    configure(settings.log_format)
    with servers(settings, typer.echo) as ready:
        asyncio.run(_work(ready))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stop.set)
    async with running_services(settings) as services:
        running = Worker(
            services,
            event_days=settings.event_retention_days,
            event_count=settings.event_retention_count,
            activity_days=settings.activity_retention_days,
            conversation_days=settings.conversation_retention_days,
            anchor=anchor_target(settings.audit_anchor),
            post=services.post,
            webhooks=services.webhooks,
            tenant_days=settings.tenant_deletion_days,
        )
        running.start()
        await stop.wait()
        await running.stop()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command(hidden=True)(serve_socket)
    app.command()(worker)
