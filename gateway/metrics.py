"""This module is where counts are kept for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

OPERATIONS: Final = Counter(
    "signalbox_operations_total", "GraphQL operations by kind and outcome.", ["kind", "outcome"]
)
