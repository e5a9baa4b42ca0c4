"""This package is where the servers stand that we measure ourselves against, each a process of its own."""
