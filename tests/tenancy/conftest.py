"""This module is where the proofs of tenancy get what schema tests have."""

from tests.schema.conftest import gateway

__all__ = ["gateway"]
