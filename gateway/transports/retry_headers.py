"""This module is where an error that says when to come again says it in HTTP's headers, too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def retry_headers(extensions: Mapping[str, Any]) -> dict[str, str]:
    """``Retry-After``, and for a rate ``RateLimit-Policy`` and ``RateLimit`` of what refused; empty without a time.

    The latter as draft-ietf-httpapi-ratelimit-headers-10 has them: structured fields (RFC 9651), whose items are the
    policy's name; ``q`` and ``r`` count requests, ``w`` and ``t`` are seconds. Only the policy that ran out is named,
    since whoever shares the others need not learn how they stand.
    """
    seconds, limit = extensions.get("retryAfterSeconds"), extensions.get("rateLimit")
    if not isinstance(seconds, int | float):
        return {}
    wait = math.ceil(seconds)
    headers = {"retry-after": str(wait)}
    if isinstance(limit, Mapping):
        headers["ratelimit-policy"] = f'"{limit["policy"]}";q={limit["quota"]};w={limit["windowSeconds"]}'
        headers["ratelimit"] = f'"{limit["policy"]}";r={limit["remaining"]};t={wait}'
    return headers
