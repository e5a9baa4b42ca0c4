"""This package is where the system is specified by example."""
