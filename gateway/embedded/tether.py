"""This module is where a process is tied to its parent's life before it becomes the program it shall run.

Run by path, with nothing but the standard library: `python -I -S tether.py PARENT SIGNAL PROGRAM …`.
Whatever ends the parent, kill -9 included, the kernel then sends SIGNAL to PROGRAM. A wrapper that changes
the user (setpriv) or the namespace (unshare) stands before this script, never behind it: a change of
credentials clears the tie, an exec keeps it. PARENT 0 means whoever the parent is now.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PARENT_GONE = 71  # EX_OSERR


def main(arguments: list[str]) -> None:
    parent = int(arguments[0]) or os.getppid()
    death_signal = signal.Signals[arguments[1]]
    command = arguments[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    # The parent may have died before the tie was made; then no signal would ever come.
    if os.getppid() != parent:
        sys.exit(_PARENT_GONE)
    # The interpreter ignores these two, and an ignored signal stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.execvp(command[0], command)  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
