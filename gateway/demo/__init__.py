"""This package is where the demo's data comes from: two tenants in full life, and a file that says how to get in."""

from gateway.demo.file import DemoFile, read_demo
from gateway.demo.seeding import seed

__all__ = ["DemoFile", "read_demo", "seed"]
