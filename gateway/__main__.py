"""This module is where ``python -m gateway`` and the command ``signalbox`` begin."""

import gc


def main() -> None:
    """Run a command."""
    # All that is imported lives as long as the process does. Looking for garbage among it was a quarter of every start.
    gc.disable()
    from gateway.cli import main as run

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
