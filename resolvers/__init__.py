"""This package is where callers learn what they may do: use cases, policies, units of work."""
