"""This package is where processes are killed, stopped and cut off, and whole fleets live and fall silent."""
