"""This module is where the embedded servers' folders are made, checked and locked."""

import fcntl
import hashlib
import os
import stat
import time
from pathlib import Path

from gateway.embedded.errors import EmbeddedServerError

# A socket's address holds 107 bytes on Linux and 103 on the BSDs; ours stays below both.
_MAX_SOCKET_PATH_BYTES = 99
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
_LOCK_WAIT_SECONDS = 20.0
_POLL_SECONDS = 0.02


def prepare(data_dir: Path) -> Path:
    """The absolute data directory, made (0700) when it is not there and proven writable.

    Raises EmbeddedServerError with one line when it cannot be used.
    """
    data_dir = Path(os.path.abspath(data_dir))
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = data_dir / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise EmbeddedServerError(
            f"cannot write to the data directory {data_dir}: {reason}; choose another with --data-dir"
        ) from error
    return data_dir


def socket_folder(data_dir: Path) -> Path:
    """A 0700 folder of ours for the sockets: in the data directory, or in /tmp when that path is too long."""
    inside = data_dir / "sockets"
    if len(os.fsencode(inside / _LONGEST_SOCKET_NAME)) <= _MAX_SOCKET_PATH_BYTES:
        folder = inside
    else:
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
        folder = Path("/tmp", f"signalbox-{os.geteuid()}-{digest}")  # noqa: S108 - checked below
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        owners = {os.geteuid(), data_dir.stat().st_uid}
    except OSError as error:
        raise EmbeddedServerError(f"cannot make the socket folder {folder}: {error.strerror}") from error
    # /tmp is everybody's: someone else's folder under our name would hand them every connection.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise EmbeddedServerError(f"the socket folder {folder} belongs to someone else; remove it")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    hand_over(folder, data_dir)
    return folder


def hand_over(path: Path, data_dir: Path) -> None:
    """As root, gives what we made to the data directory's owner, who may start the gateway here next."""
    if os.geteuid() == 0:
        owner = data_dir.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def lock(data_dir: Path, server: str) -> int:
    """A locked file descriptor for one server of this data directory, to be inherited by the server.

    Every process the server starts inherits it too, so the lock is free exactly when nothing of it runs any
    more. Waits for a server whose gateway is dead to finish its shutdown; refuses at once while that lives.
    """
    path = data_dir / f"{server}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedServerError(f"cannot open the lock {path}: {error.strerror}") from error
    hand_over(path, data_dir)
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while not _try_lock(descriptor):
        owner = os.pread(descriptor, 64, 0).decode().strip()
        pid = owner.partition(" ")[0]
        if pid.isdigit() and int(pid) != os.getpid() and owner == process_identity(int(pid)):
            os.close(descriptor)
            raise EmbeddedServerError(
                f"another gateway (process {pid}) is running on the data directory {data_dir}; "
                "stop it, or choose another with --data-dir"
            )
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise EmbeddedServerError(f"an earlier {server} (of process {pid}) still runs on {data_dir}")
        time.sleep(_POLL_SECONDS)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, process_identity(os.getpid()).encode(), 0)
    return descriptor


def release(descriptor: int) -> None:
    """Lets go of our hold on the lock; a server that inherited it goes on holding it."""
    os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def process_identity(pid: int) -> str:
    """'pid start-time', which no later process of that pid shares; '' when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{pid} {fields[19]}"
