"""This module is where a whole gateway is started for real clients, as a stranger would start it."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_SECONDS = 120
STOP_SECONDS = 20
NODE_SECONDS = 60


@dataclass(frozen=True)
class Gateway:
    """A running gateway and who may sign in to it."""

    url: str
    tenants: list[dict[str, Any]]

    @property
    def graphql(self) -> str:
        return f"{self.url}/graphql"

    def key(self, slug: str) -> str:
        """Authorization of the tenant's API key, which holds every ingest scope."""
        (tenant,) = (tenant for tenant in self.tenants if tenant["slug"] == slug)
        return f"Bearer {tenant['api_keys'][0]['secret']}"

    def credentials(self, slug: str, role: str) -> dict[str, str]:
        """Input of the login mutation for the first user of a tenant with a role."""
        (tenant,) = (tenant for tenant in self.tenants if tenant["slug"] == slug)
        user = next(user for user in tenant["users"] if role in {name.lower() for name in user["roles"]})
        return {"tenantSlug": slug, "email": user["email"], "password": user["password"]}


Node = Callable[..., Any]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in the demo profile, for all tests."""
    data_dir = tmp_path_factory.mktemp("demo")
    with running(data_dir, "--demo") as url:
        demo = json.loads((data_dir / "demo.json").read_text())
        yield Gateway(url, demo["tenants"])


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in the production profile, without any data."""
    with running(tmp_path_factory.mktemp("production")) as url:
        yield Gateway(url, [])


@pytest.fixture(scope="session")
def node() -> Node:
    """Runs a script of this folder and returns the JSON it prints."""

    def run(script: str, *arguments: str) -> Any:
        done = subprocess.run(
            ["node", str(HERE / "scripts" / script), *arguments],
            capture_output=True,
            text=True,
            timeout=NODE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    return run


@contextmanager
def running(data_dir: Path, *arguments: str, **settings: str) -> Iterator[str]:
    """A gateway process on a port of its own; ends it with SIGTERM and checks that it ends well.

    ``settings`` are variables of its environment.
    """
    log_path = data_dir / "gateway.log"
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--data-dir", str(data_dir), *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    inherited |= {"SIGNALBOX_SECRETS_KEYS": secrets.token_hex(32), **settings}
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=inherited, stdout=log, stderr=log)
        try:
            yield ready_url(process, log_path)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 0, log_path.read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def ready_url(process: subprocess.Popen[bytes], log_path: Path) -> str:
    """The address that the gateway prints, once it answers there that it is ready."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, f"the gateway ended\n{log_path.read_text()}"
        said = re.search(r"serves (http://\S+)/graphql", log_path.read_text())
        if said and answers(said[1]):
            return said[1]
        time.sleep(0.1)
    raise TimeoutError(f"no ready gateway after {START_SECONDS} s\n{log_path.read_text()}")


def answers(url: str) -> bool:
    """Whether the gateway there is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
