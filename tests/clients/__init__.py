"""This package is where real clients and a browser meet a running gateway; `make test-clients` runs it."""
