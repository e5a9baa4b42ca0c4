"""This module is where PostgreSQL, which refuses to run as root, is given another user."""

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.embedded.errors import EmbeddedServerError

_FIRST_USER = 1000
_NOBODY = 65534
_PROBE_SECONDS = 20.0
_PROBE = """
import os, sys
os.close(os.open(sys.argv[1], os.O_RDONLY))
folder = os.path.join(sys.argv[2], ".probe-user")
os.mkdir(folder)
os.rmdir(folder)
"""


class ServerUser:
    """How the database server runs: the words before its command, and who must own its files."""

    def __init__(self, prefix: Sequence[str], uid: int) -> None:
        self.prefix = tuple(prefix)
        self.uid = uid

    def take(self, folder: Path) -> None:
        """Gives a folder and all in it to this user, unless it is theirs already."""
        if folder.stat().st_uid == self.uid:
            return
        try:
            for root, folders, files in os.walk(folder):
                for name in (*folders, *files):
                    os.chown(os.path.join(root, name), self.uid, -1, follow_symlinks=False)
            os.chown(folder, self.uid, -1)  # last, so that an interrupted walk is taken up again
        except OSError as error:
            raise EmbeddedServerError(
                f"the database in {folder} belongs to another user (uid {folder.stat().st_uid}); "
                "start the gateway as that user, or choose another --data-dir"
            ) from error


def server_user(program: Path, data_dir: Path) -> ServerUser:
    """The user to run `program` as on `data_dir`: ourselves, or the first way this machine allows."""
    uid = os.geteuid()
    if uid != 0 and _has_name(uid):
        return ServerUser((), uid)
    for candidate in candidates(uid, data_dir.stat().st_uid):
        if _works(candidate.prefix, program, data_dir):
            return candidate
    problem = "refuses to run as root" if uid == 0 else f"refuses to run as user {uid}, who has no name here"
    raise EmbeddedServerError(
        f"PostgreSQL {problem}, and neither user namespaces nor a change of user work on this machine: "
        "start the gateway as an ordinary user, or set SIGNALBOX_DATABASE_URL"
    )


def candidates(uid: int, owner_uid: int) -> list[ServerUser]:
    """The ways for `uid` to run the server as somebody else on a directory of `owner_uid`'s, best first.

    A user namespace keeps every file the caller's own. Where a sandbox forbids it, or a folder on the way is
    closed to a root without powers, root's server becomes a user who may pass any folder as root could.
    """
    stand_in = _stand_in()
    namespace = ServerUser(("unshare", "-U", f"--map-user={stand_in}", f"--map-group={stand_in}"), uid)
    if uid != 0:
        return [namespace]
    other = owner_uid if owner_uid != 0 and _has_name(owner_uid) else _NOBODY
    ids = (f"--reuid={other}", f"--regid={other}", "--clear-groups")
    powers = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    switched = ServerUser(("setpriv", *ids, *powers), other)
    return [namespace, switched] if owner_uid == 0 else [switched, namespace]


def _stand_in() -> int:
    """The user to appear as inside a namespace: initdb refuses a number that /etc/passwd gives no name."""
    if _has_name(_FIRST_USER):
        return _FIRST_USER
    return min((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), default=_FIRST_USER)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _works(prefix: Sequence[str], program: Path, data_dir: Path) -> bool:
    probe = [*prefix, sys.executable, "-I", "-S", "-c", _PROBE, str(program), str(data_dir)]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and our own paths, no shell
            probe, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
