"""This module is where it is specified that embedded servers never outlive their gateway, however it ends.

Real processes: a child interpreter starts both servers, is ended, and every process of theirs is watched.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from gateway.embedded import EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey
from tests.gateway.watching import ended, family

ROOT = Path(__file__).parents[2]
TETHER = ROOT / "gateway" / "embedded" / "tether.py"
ATTEND = ROOT / "deploy" / "attend.py"
ORDINARY_UID = 65534  # Debian's nobody; initdb demands a user with a name

# What a gateway does about its servers and nothing else: SIGUSR1 ends it in order, SIGINT by an exception,
# SIGTERM and SIGKILL at once.
GATEWAY = f"""
import json, os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from gateway.embedded import EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
try:
    postgres, valkey = (server.start(Path(sys.argv[1])) for server in (EmbeddedPostgres, EmbeddedValkey))
except EmbeddedServerError as error:
    print(json.dumps({{"refused": str(error)}}), flush=True)
    sys.exit(1)
print(json.dumps({{"pid": os.getpid(), "uid": os.geteuid(), "sockets": str(postgres.socket_dir),
                   "postgres": postgres.pid, "valkey": valkey.pid}}), flush=True)
signal.sigwaitinfo([signal.SIGUSR1])
valkey.stop()
postgres.stop()
"""
# An ordinary user in everything but reading, so that an interpreter in root's home can be reached at all.
AS_ORDINARY_USER = (
    "setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip


class Gateway(NamedTuple):
    process: subprocess.Popen[str]
    report: dict[str, Any]

    def watch(self) -> list[int]:
        """pidfds of both servers and their children."""
        return [*family(self.report["postgres"]), *family(self.report["valkey"])]


Launch = Callable[..., Gateway]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[subprocess.Popen[str]] = []

    def start(*prefix: str, data_dir: Path = tmp_path) -> Gateway:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", GATEWAY, str(data_dir)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return Gateway(process, json.loads(process.stdout.readline()))

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


@pytest.fixture(params=["as we are", "as an ordinary user"])
def user(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    if request.param == "as we are" or os.geteuid() != 0:
        return ()
    os.chown(tmp_path, ORDINARY_UID, ORDINARY_UID)
    return AS_ORDINARY_USER


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_nothing_outlives_the_gateway(launch: Launch, user: tuple[str, ...], ending: signal.Signals) -> None:
    gateway = launch(*user)
    assert gateway.report["uid"] == (ORDINARY_UID if user else os.geteuid())
    watches = gateway.watch()
    os.kill(gateway.report["pid"], ending)
    assert ended(watches)


async def test_a_session_at_work_does_not_keep_the_server_alive(launch: Launch, tmp_path: Path) -> None:
    gateway = launch()
    connection = await asyncpg.connect(host=gateway.report["sockets"], user="postgres", database="postgres", timeout=10)
    await connection.execute("SELECT pg_advisory_lock(1)")
    watches = gateway.watch()
    gateway.process.kill()
    assert ended(watches)
    connection.terminate()


def test_the_next_gateway_starts_while_the_killed_ones_servers_still_end(launch: Launch) -> None:
    first = launch()
    watches = first.watch()
    first.process.kill()
    first.process.wait(30)
    second = launch()
    assert "refused" not in second.report
    assert ended(watches, timeout_seconds=0)


def test_a_second_gateway_on_the_same_data_is_refused_in_one_line(launch: Launch, tmp_path: Path) -> None:
    first = launch()
    for server in (EmbeddedPostgres, EmbeddedValkey):
        with pytest.raises(EmbeddedServerError) as refusal:
            server.start(tmp_path)
        assert f"another gateway (process {first.report['pid']}) is running" in str(refusal.value)
        assert "--data-dir" in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_make_takes_the_gateway_and_its_servers_along_whatever_ends_it(tmp_path: Path, ending: signal.Signals) -> None:
    (tmp_path / "gateway.py").write_text(GATEWAY)
    alone = f"{sys.executable} -I -S"
    tied = f"{alone} {TETHER} 0 SIGTERM {alone} {ATTEND} {sys.executable} gateway.py {tmp_path}/data"
    (tmp_path / "Makefile").write_text(f"run:\n\t@exec {tied}\n")
    # Whoever runs the tests may ignore hang-ups (nohup), and what is ignored stays so in every child.
    make = subprocess.Popen(
        ["env", "--default-signal=HUP", "make", "-C", str(tmp_path), "--no-print-directory", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert make.stdout is not None
    report = json.loads(make.stdout.readline())
    watches = [os.pidfd_open(report["pid"]), *family(report["postgres"]), *family(report["valkey"])]
    make.send_signal(ending)
    assert ended(watches)
    make.communicate(timeout=30)


def test_the_terminals_interrupt_reaches_the_gateway_only(launch: Launch) -> None:
    gateway = launch()
    for server in ("postgres", "valkey"):
        assert os.getsid(gateway.report[server]) not in (os.getsid(0), os.getsid(gateway.report["pid"]))


def test_a_tether_to_a_parent_that_is_gone_starts_nothing() -> None:
    # Pid 1 is alive but is not the parent: what a child sees whose parent died before it could look.
    done = subprocess.run(
        [sys.executable, "-I", "-S", TETHER, "1", "SIGTERM", "echo", "started"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 71
    assert done.stdout == ""


def test_a_directory_that_cannot_be_written_is_refused_in_one_line(launch: Launch, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    gateway = launch(*(AS_ORDINARY_USER if os.geteuid() == 0 else ()))
    assert gateway.report["refused"] == (
        f"cannot write to the data directory {tmp_path}: Permission denied; choose another with --data-dir"
    )


def test_what_root_started_in_a_users_directory_the_user_can_start_again(launch: Launch, tmp_path: Path) -> None:
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(tmp_path, ORDINARY_UID, ORDINARY_UID)
    for user in ((), AS_ORDINARY_USER if is_root else (), ()):
        gateway = launch(*user)
        assert "refused" not in gateway.report
        watches = gateway.watch()
        os.kill(gateway.report["pid"], signal.SIGUSR1)
        assert ended(watches)
        gateway.process.wait(30)
