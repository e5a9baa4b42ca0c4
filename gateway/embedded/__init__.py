"""This package is where the gateway runs its own PostgreSQL and Valkey where no address is given."""

from gateway.embedded.errors import EmbeddedServerError
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedPostgres", "EmbeddedServerError", "EmbeddedValkey"]
