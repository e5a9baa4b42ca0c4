"""This script is where a program that make starts is made to end when make is told to.

Usage, behind gateway/embedded/tether.py: python -I -S deploy/attend.py PROGRAM [ARGUMENT…]. The program gets a
session of its own, so that a terminal's Ctrl-C reaches it once, through here. make itself passes SIGTERM on but,
sent another signal alone (`kill -INT`, a process supervisor), it only stops catching that and waits for its
children for ever; that it stopped catching is the one trace of it, looked for four times a second.
"""
# ruff: noqa: S603 - it runs the command it is given, without a shell

import os
import signal
import subprocess
import sys
from pathlib import Path

TETHER = Path(__file__).resolve().parents[1] / "gateway" / "embedded" / "tether.py"
# What we get, or make got, and what the program gets: few programs expect a hang-up.
PASSED_ON = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGQUIT: signal.SIGQUIT,
}
INSISTENT = {signal.SIGINT, signal.SIGQUIT}
LOOK_SECONDS = 0.25


def main(command: list[str]) -> int:
    """Runs the command to its end and returns what a shell would call its exit status."""
    make = os.getppid()
    caught = caught_signals(make)
    told, lost = False, set[signal.Signals]()
    # Before the start, so that no signal is lost; the tether gives the program an open mask again.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    tied = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), "SIGTERM", *command]
    program = subprocess.Popen(tied, start_new_session=True)
    while program.poll() is None:
        received = signal.sigtimedwait({*PASSED_ON, signal.SIGCHLD}, LOOK_SECONDS)
        number = signal.Signals(received.si_signo) if received else None
        # An impatient second Ctrl-C is passed on; a hang-up that follows make's end says nothing new.
        if number is not None and (number in INSISTENT or (number in PASSED_ON and not told)):
            program.send_signal(PASSED_ON[number])
            told = True
        elif received is None and not told:
            # Acted upon at the second look: a terminal's Ctrl-C comes to us as well, a moment later.
            previous, lost = lost, caught - caught_signals(make)
            for signal_of_make in previous & lost:
                program.send_signal(PASSED_ON[signal_of_make])
                told = True
    return program.returncode if program.returncode >= 0 else 128 - program.returncode


def caught_signals(pid: int) -> set[signal.Signals]:
    """Those of the signals we pass on that the process has a handler for; of a process that is gone, all."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return set(PASSED_ON)  # its end sends us SIGTERM, there is nothing to read from it
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return {number for number in PASSED_ON if mask >> (number - 1) & 1}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
