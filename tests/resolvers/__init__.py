"""This package is where use cases are specified by example, over a real database."""
