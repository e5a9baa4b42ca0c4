"""This module is where tests wait for the end of processes that are not their children."""

import os
import select
from pathlib import Path


def family(pid: int) -> list[int]:
    """A process and its children, as pidfds: they name these processes whoever has their pids later."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [os.pidfd_open(member) for member in (pid, *map(int, children))]


def ended(watches: list[int], timeout_seconds: float = 30.0) -> bool:
    """Whether all these processes (pidfds, closed here) end within the time."""
    poll = select.poll()
    for watch in watches:
        poll.register(watch, select.POLLIN)
    left = set(watches)
    while left and (events := poll.poll(timeout_seconds * 1000)):
        for watch, _ in events:
            poll.unregister(watch)
            left.discard(watch)
    for watch in watches:
        os.close(watch)
    return not left
