"""This package is where the schema is specified as its callers see it."""
