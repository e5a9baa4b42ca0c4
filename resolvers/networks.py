"""This module is where an address becomes the network that counts for sign-ins: a /24, or a /56 of IPv6."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

UNKNOWN: Final = "unknown"
"""Where no address is known, e.g. behind a UNIX socket; all of these are one network."""

_IPV4_BITS: Final = 24
_IPV6_BITS: Final = 56  # what one household or machine is commonly given


def network_of(address: str | None) -> str:
    """The network of a client's address; ``unknown`` for what is none."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ip_network((parsed, _IPV6_BITS), strict=False))
        parsed = parsed.ipv4_mapped
    return str(ip_network((parsed, _IPV4_BITS), strict=False))
