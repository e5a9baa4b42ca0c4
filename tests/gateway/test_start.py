"""This module is where a command's start is held to its cost: nothing looks for garbage among what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.patience import DEADLINE

ROOT = Path(__file__).parents[2]
# In a process of its own: in this one everything has been imported long ago.
SCRIPT = """
import gc, json
from gateway.__main__ import main

looks = []
gc.callbacks.append(lambda phase, _: looks.append(phase))
try:
    main()
except SystemExit as ended:
    print(json.dumps({"looks_per_100_000": looks.count("start") * 100_000 // gc.get_freeze_count(),
                      "enabled": gc.isenabled(), "status": ended.code}))
"""


def test_what_is_imported_is_not_searched_for_garbage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    said = json.loads(done.stdout.splitlines()[-1])
    # One every 700 objects is what it would be.
    assert said.pop("looks_per_100_000") < 20
    assert said == {"enabled": True, "status": 0}
