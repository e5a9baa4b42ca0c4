"""This module is where Host and Origin are compared with the hosts and origins that we serve."""

from __future__ import annotations

from starlette.datastructures import Headers

from gateway.transports.errors import HttpRefusal
from gateway.transports.options import TransportOptions

ANY = "*"


def host_allowed(host: str | None, allowed: frozenset[str]) -> bool:
    """An entry with a port matches that port only, one without matches any. A missing Host matches nothing.

    Comparing Origin with Host instead would let DNS rebinding in: both then name the attacker.
    """
    if ANY in allowed:
        return True
    if not host:
        return False
    host = host.lower()
    name = _without_port(host)
    # Settings name an IPv6 address bare, Host puts it into brackets.
    return host in allowed or name in allowed or name.strip("[]") in allowed


def origin_allowed(origin: str | None, allowed: frozenset[str]) -> bool:
    """Only browsers send an Origin, so none is let in; ``null`` (sandboxed frames, files) is not."""
    return origin is None or ANY in allowed or origin.lower() in allowed


def is_welcome(origin: str | None, host: str | None, origins: frozenset[str], hosts: frozenset[str]) -> bool:
    """Whether a request may come from this origin: an allowed one, or the very host that it asks, where that is named.

    A host that only ``*`` admits proves nothing: rebound to us, an attacker's name is the Host and the Origin.
    """
    if origin_allowed(origin, origins):
        return True
    own = (origin or "").partition("://")[2].lower()
    return ANY not in hosts and host_allowed(host, hosts) and own == (host or "").lower()


def refuse_strangers(headers: Headers, options: TransportOptions) -> None:
    """What every HTTP endpoint asks first. Raises HttpRefusal: 421 for another host, 403 for another origin."""
    host, origin = headers.get("host"), headers.get("origin")
    if not host_allowed(host, options.allowed_hosts):
        raise HttpRefusal(421, "This host is not served here.")
    if origin and not is_welcome(origin, host, options.allowed_origins, options.allowed_hosts):
        raise HttpRefusal(403, "This origin is not allowed; see SIGNALBOX_ALLOWED_ORIGINS.", code="FORBIDDEN")


def _without_port(host: str) -> str:
    head, colon, port = host.rpartition(":")
    return head if colon and port.isdigit() and not head.endswith(":") else host
