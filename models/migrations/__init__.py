"""This package is where the schema's history lives (alembic)."""
