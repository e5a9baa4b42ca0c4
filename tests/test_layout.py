"""This module is where the house is held to its plan: which files there are, how big they are, what they may touch."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("models", "dataloaders", "subscriptions", "resolvers", "schema", "gateway")
OURS: Final = (*PACKAGES, "tests")

NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "tenants": ("dataloaders", "resolvers", "schema", "tests/resolvers"),
    "users": ("dataloaders", "resolvers", "schema", "tests/dataloaders", "tests/resolvers"),
    "identity_providers": ("dataloaders", "resolvers", "schema", "tests/resolvers"),
    "credentials": ("dataloaders", "resolvers", "schema", "tests/resolvers"),
    "registry": ("dataloaders", "subscriptions", "resolvers", "schema", "tests/models", "tests/schema"),
    "agents": ("dataloaders", "resolvers", "schema", "tests/models", "tests/dataloaders", "tests/schema"),
    "catalog": ("dataloaders", "resolvers", "schema", "tests/schema"),
    "conversations": ("dataloaders", "resolvers", "schema", "tests/models", "tests/schema"),
    "approvals": ("dataloaders", "subscriptions", "resolvers", "schema", "tests/models", "tests/schema"),
    "runs": ("dataloaders", "resolvers", "schema", "tests/schema"),
    "governance": ("dataloaders", "resolvers", "schema", "tests/models", "tests/schema"),
    "usage": ("dataloaders", "resolvers", "schema", "tests/schema"),
    "alerts": ("dataloaders", "subscriptions", "resolvers", "schema", "tests/models", "tests/schema"),
    "alert_counts": ("dataloaders", "resolvers"),
    "alert_series": ("dataloaders",),
    "alert_analysis": ("dataloaders", "resolvers", "schema", "tests/schema"),
    "infrastructure": ("dataloaders", "resolvers", "schema", "tests/schema"),
    "secrets": ("dataloaders", "resolvers", "schema", "tests/resolvers", "tests/schema"),
    "audit": ("dataloaders", "resolvers", "schema", "tests/resolvers", "tests/schema"),
    "canvas": ("dataloaders", "resolvers", "schema", "tests/schema"),
    "webhooks": ("dataloaders", "resolvers", "schema", "tests/resolvers", "tests/schema"),
    "activity_logs": ("dataloaders", "resolvers", "schema", "tests/schema"),
    "activity": ("dataloaders", "subscriptions", "resolvers", "schema", "tests/schema"),
}
"""Folders in which a domain has a file of its own name, besides models; each domain is finished by its own issue."""

FOUNDATIONS: Final = frozenset(
    {
        "base",
        "chain",
        "changes",
        "coordination",
        "database",
        "envelope",
        "errors",
        "ids",
        "migrate",
        "months",
        "protection",
        "readers",
        "reads",
        "roles",
        "scopes",
        "sealing",
        "search",
        "turns",
    }
)
"""Modules of models that belong to no domain."""

FILE_LINES: Final = 400
TEST_LINES: Final = 500
FUNCTION_LINES: Final = 60
GENERATED: Final = "models/migrations/versions/"
"""Migrations are written once, by alembic, and never read again from top to bottom."""


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _sources(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if "node_modules" not in path.parts and not _name(path).startswith(GENERATED)]


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


def _is_importable(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_dir() and not path.name.startswith(".") and any(path.glob("*.py")))


def test_a_domain_has_its_file_in_every_folder_that_the_table_names() -> None:
    missing = [
        f"{folder}/{'test_' * folder.startswith('tests')}{domain}.py"
        for domain, folders in NEEDS.items()
        for folder in ("models", *folders)
        if not (ROOT / folder / f"{'test_' * folder.startswith('tests')}{domain}.py").is_file()
    ]
    assert missing == []


def test_a_file_in_models_is_a_domain_of_the_table_or_a_foundation() -> None:
    named = {path.stem for path in (ROOT / "models").glob("*.py")} - {"__init__"}
    assert named - FOUNDATIONS == set(NEEDS)


def test_no_folder_holds_a_domain_that_the_table_does_not_give_it() -> None:
    strays = [
        f"{folder}/{domain}.py"
        for domain, folders in NEEDS.items()
        for folder in PACKAGES[1:]
        if (ROOT / folder / f"{domain}.py").is_file() and folder not in folders
    ]
    assert strays == []


def test_nothing_but_the_six_packages_and_tests_can_be_imported_from_the_top() -> None:
    importable = {path.stem for path in ROOT.iterdir() if _is_importable(path)}
    assert importable - {"benchmarks", "deploy"} == set(OURS)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"benchmarks"} == set(OURS)


def test_every_tool_is_told_of_the_same_six_packages() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert tuple(tool["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES
    assert tuple(tool["importlinter"]["root_packages"]) == PACKAGES
    assert tuple(tool["mypy"]["packages"]) == OURS


def test_no_foreign_distribution_owns_one_of_our_names() -> None:
    owners = packages_distributions()
    assert {"sqlalchemy", "strawberry"} <= set(owners)
    foreign = {name: set(owners.get(name, ())) - {"signalbox"} for name in OURS}
    assert {name: who for name, who in foreign.items() if who} == {}


@pytest.mark.parametrize("path", _sources(*OURS), ids=_name)
def test_a_file_keeps_its_caps_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    kind = "package" if path.name == "__init__.py" else "module"
    assert (ast.get_docstring(tree) or "").startswith(f"This {kind} is where ")
    assert len(text.splitlines()) <= (TEST_LINES if _name(path).startswith("tests/") else FILE_LINES)
    long = {one.name: (one.end_lineno or 0) - one.lineno + 1 for one in _functions(tree)}
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", _sources(*PACKAGES), ids=_name)
def test_only_the_settings_read_the_environment(path: Path) -> None:
    words = {"environ", "environb", "getenv", "getenvb"}
    tree = ast.parse(path.read_text())
    read = {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute)}
    read |= {one.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for one in node.names}
    assert bool(read & words) == (_name(path) == "gateway/settings.py")
