"""This module is where keys that expire in the broker become hints."""

from collections.abc import AsyncGenerator

from subscriptions.bus import GAP, Bus, Gap


async def expired_keys(bus: Bus, prefix: str) -> AsyncGenerator[str | Gap, None]:
    """Names of keys that expired, or GAP where some may have been missed. Ends when the bus stops.

    A hint only: brokers expire late, notify once, and may not be allowed to notify at all; in a cluster
    each node tells its own clients alone, so there nothing but gaps comes. The guarantee is the caller's
    sweep. Close it (contextlib.aclosing) when leaving early.
    """
    async with bus.subscribe(bus.expiry_channel) as events:
        await bus.announce_expiry()
        async for event in events:
            if event is GAP:
                await bus.announce_expiry()  # a restarted broker has forgotten
                yield GAP
            else:
                key = event.data.decode("utf-8", "replace")
                if key.startswith(prefix):
                    yield key
