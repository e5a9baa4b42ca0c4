"""This script is where a bare machine gets everything `make run` and `make test` need, inside .venv.

Usage: python3 deploy/setup.py run|dev. Standard library only, and no newer syntax than Python 3.6 knows, so
that an old interpreter can say what is wrong with it. Nothing outside .venv is touched. A second run that finds
its stamp does nothing.
"""

# ruff: noqa: S603, S606 - it runs fixed commands, without a shell

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
OLDEST = (3, 11)
FOLDERS = ("models", "dataloaders", "subscriptions", "resolvers", "schema", "gateway", "tests", "benchmarks")
NEWER_NAMES = ("python3.14", "python3.13", "python3.12", "python3.11")


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) == 2 else ""
    if kind not in ("run", "dev"):
        fail("usage: python3 deploy/setup.py run|dev")
    use_a_new_enough_python()
    if not is_installed(kind):
        set_up(kind)
    compile_ours()


def set_up(kind: str) -> None:
    began = time.monotonic()
    # Two makes at once would install over each other.
    with (ROOT / ".setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_installed(kind):
            make_venv()
            install(kind)
            stamp_file(kind).write_text(stamp(kind))
    say(f"ready after {time.monotonic() - began:.0f} s")


def use_a_new_enough_python() -> None:
    """Goes on in the newest suitable interpreter there is, when this one is too old."""
    if sys.version_info >= OLDEST:
        return
    for name in NEWER_NAMES:
        path = shutil.which(name)
        if path:
            os.execv(path, [path, *sys.argv])
    fail(
        f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}. "
        "Install one, or name it: make PYTHON=/path/to/python3 …"
    )


def is_installed(kind: str) -> bool:
    """Whether .venv holds these requirements; the development set contains the one to run."""
    kinds = ("run", "dev") if kind == "run" else ("dev",)
    return PYTHON.exists() and any(
        stamp_file(one).exists() and stamp_file(one).read_text() == stamp(one) for one in kinds
    )


def stamp_file(kind: str) -> Path:
    return VENV / ("installed-" + kind)


def stamp(kind: str) -> str:
    """A digest of all that decides what an installation looks like."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (requirements("setup"), requirements(kind), ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def requirements(kind: str) -> Path:
    return ROOT / "requirements" / (kind + ".txt")


def make_venv() -> None:
    if PYTHON.exists() and subprocess.call([str(PYTHON), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        fail(
            "this Python has no complete venv module, and .venv cannot be made without it.\n"
            "  On Debian or Ubuntu, as root:  apt-get install python3-venv\n"
            "  then run the same command again."
        )
    say(f"making .venv with Python {sys.version.split()[0]}")
    run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def install(kind: str) -> None:
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes"]
    if not UV.exists() or not has_hatchling():
        say("installing the installer")
        run([*pip, "-qq", "-r", str(requirements("setup"))])
    count = sum(1 for line in requirements(kind).read_text().splitlines() if "==" in line)
    say(f"installing {count} pinned packages")
    # Compiled once, here: where Python may not write bytecode, each process would spend seconds on it.
    uv = [str(UV), "pip", "install", "--compile-bytecode", "--python", str(PYTHON)]
    if subprocess.call([*uv, "--require-hashes", "-r", str(requirements(kind))]) != 0:
        say("uv did not manage it; trying again with pip")
        run([*pip, "-r", str(requirements(kind))])
    # The folders are used where they are; this adds the `signalbox` command and a pointer to them.
    here = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run([str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *here])


def compile_ours() -> None:
    """Keeps our own bytecode fresh, for the same reason; a checkout that is not ours to write in does without."""
    folders = [str(ROOT / name) for name in FOLDERS]
    subprocess.call([str(PYTHON), "-m", "compileall", "-qq", *folders], stderr=subprocess.DEVNULL)


def has_hatchling() -> bool:
    return subprocess.call([str(PYTHON), "-c", "import hatchling"], stderr=subprocess.DEVNULL) == 0


def run(command: list) -> None:
    code = subprocess.call(command)
    if code != 0:
        fail(f"this failed with code {code}: {' '.join(command)}")


def say(text: str) -> None:
    sys.stdout.write("[setup] " + text + "\n")
    sys.stdout.flush()


def fail(text: str) -> None:
    sys.stderr.write("[setup] " + text + "\n")
    sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
