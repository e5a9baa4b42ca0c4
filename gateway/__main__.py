"""This module is where ``python -m gateway`` begins."""

from gateway.cli import main

if __name__ == "__main__":
    main()
