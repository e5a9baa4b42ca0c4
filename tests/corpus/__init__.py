"""This package is where attacks on the gateway are kept, and shown to be refused for next to nothing."""
