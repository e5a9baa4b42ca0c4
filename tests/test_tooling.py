"""This module is where the project's own tools are specified: set-up, skipped tests, the table of what was shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import report

ROOT = Path(__file__).parents[1]


def pytest_on(test: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", f"--rootdir={folder}", *arguments, str(folder)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_skipped_test_fails_where_no_skips_is_loaded(tmp_path: Path) -> None:
    skipping = "import pytest\ndef test_peer(): pytest.skip('no peer')\ndef test_well(): pass\n"
    assert pytest_on(skipping, tmp_path).returncode == 0
    strict = pytest_on(skipping, tmp_path, "-p", "tests.no_skips")
    assert strict.returncode == 1
    assert "SKIPPED, which is a failure here: test_it.py::test_peer" in strict.stdout


def test_a_module_that_skips_itself_fails_where_no_skips_is_loaded(tmp_path: Path) -> None:
    skipping = "import pytest\npytest.skip('no peer', allow_module_level=True)\n"
    assert pytest_on(skipping, tmp_path, "-p", "tests.no_skips").returncode != 0


def test_tests_that_run_pass_where_no_skips_is_loaded(tmp_path: Path) -> None:
    assert pytest_on("def test_well(): pass\n", tmp_path, "-p", "tests.no_skips").returncode == 0


def test_what_was_shown_is_listed_by_issue_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "REPORT", tmp_path / "deeper" / "shows.jsonl")
    report.record(3, "frames reach 2,000 sockets", 2000, "p99 41 ms")
    report.record(2, "beats without an error", 24000, "0 errors")
    report.record(2, "statements for beats", 10, "7.1 a second")
    assert report.table(report.read(report.REPORT)).splitlines() == [
        "issue 2",
        "  beats without an error      N = 24,000  0 errors",
        "  statements for beats        N =     10  7.1 a second",
        "issue 3",
        "  frames reach 2,000 sockets  N =  2,000  p99 41 ms",
    ]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in which nothing has been installed."""
    for path in ("deploy/setup.py", "requirements/setup.txt", "requirements/run.txt", "pyproject.toml"):
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((ROOT / path).read_bytes())
    return tmp_path


def set_up(clone: Path, preparation: str) -> subprocess.CompletedProcess[str]:
    """Runs the set-up script of `clone` in an interpreter that `preparation` has made what it should be."""
    script = (
        f"import runpy, sys; sys.argv = ['setup.py', 'run']; {preparation}\n"
        "runpy.run_path('deploy/setup.py', run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script], cwd=clone, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_machine_without_python3_venv_is_told_so_plainly(clone: Path) -> None:
    done = set_up(clone, "sys.modules['ensurepip'] = None")
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone / ".venv").exists()


def test_too_old_a_python_is_told_which_it_needs(clone: Path) -> None:
    done = set_up(clone, "import shutil; shutil.which = lambda _: None; sys.version_info = (3, 9)")
    assert done.returncode == 1
    assert done.stderr.startswith("[setup] Python 3.11 or newer is needed")
