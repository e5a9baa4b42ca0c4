"""This module is where a benchmark gets a real gateway: embedded servers, a tenant, a key, processes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from uuid import UUID

from gateway import settings as configuration
from gateway.runtime import running_services
from gateway.servers import servers
from gateway.settings import Settings
from models import Scope, Tenant, TenantPlan, Workspace, WorkspaceStatus
from models.ids import uuid7
from resolvers.administration import issue_key, operator_call
from subscriptions.log import OPEN_STREAM

Published = dict[int, float]
"""When the commit of an event had returned, by its seq; in seconds since the epoch."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class House:
    """Servers and one tenant with a workspace, for as long as the block lasts."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.tenant_id: UUID = uuid7()
        self.workspace_id: UUID = uuid7()
        self.token = ""

    def __enter__(self) -> Self:
        folder = self._stack.enter_context(TemporaryDirectory(prefix="sbx-"))
        given = configuration.load(
            profile="production",
            token_keys=["00" * 32],
            audit_keys=["22" * 32],
            secrets_keys=["00" * 32],
            data_dir=Path(folder),
            sockets_per_tenant=10_000,
            sockets_per_user=10_000,
        )
        self.settings: Settings = self._stack.enter_context(servers(given, lambda _: None))
        configuration.hand_down(self.settings)
        asyncio.run(self._furnish())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def _furnish(self) -> None:
        async with running_services(self.settings) as services:
            async with services.database.session(self.tenant_id) as session:
                session.add(Tenant(id=self.tenant_id, name="Bench", slug="bench", plan=TenantPlan.ENTERPRISE))
                await session.flush()
                await session.execute(OPEN_STREAM, {"tenant": self.tenant_id})
                await session.commit()
            async with operator_call(services, self.tenant_id).work() as work:
                work.add(Workspace(id=self.workspace_id, name="place 000", status=WorkspaceStatus.ONLINE))
            scopes = [Scope.WORKSPACES_READ.value, Scope.WORKSPACES_WRITE.value]
            self.token = "Bearer " + await issue_key(services, "bench", "bench", scopes)

    @contextmanager
    def gateway(self) -> Iterator[tuple[int, int]]:
        """Pid and port of a gateway that is ready."""
        port = free_port()
        command = [sys.executable, "-m", "gateway", "serve", "--no-worker", "--port", str(port)]
        one = subprocess.Popen(
            command,
            env=dict(os.environ),
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                        break
                except OSError:
                    time.sleep(0.1)
            yield one.pid, port
        finally:
            one.kill()
            one.wait()

    @contextmanager
    def writer(self, rate: float, burst: int) -> Iterator[Published]:
        """A process that commits changes of the workspace; what it published is there when the block has ended."""
        module = [sys.executable, "-m", "benchmarks.peers.writer", str(self.tenant_id), str(self.workspace_id)]
        command = [*module, str(rate), str(burst), str(self.settings.data_dir)]
        published: Published = {}
        one = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert one.stdout is not None
            one.stdout.readline()
            yield published
        finally:
            one.kill()
            told, _ = one.communicate()
            for line in told.splitlines():
                first, last, at = line.split()
                published |= dict.fromkeys(range(int(first), int(last) + 1), float(at))
