"""How many requests an address may send a minute."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

_MOST = 4096  # addresses that are remembered


class Pace:
    """A leaky bucket for each address: ``per_minute`` requests a minute, a quarter of them at once.

    The generic cell rate algorithm (ITU-T I.371): one number an address, the time at which its bucket is empty again.
    An IPv6 network of 64 bits is one address, since whoever has it can take any of them.

    Args:
        per_minute: 0 lets everybody pass.
        clock: seconds that only grow.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._burst = max(1, per_minute // 4) * self._interval
        self._clock = clock
        self._empty_at: dict[str, float] = {}

    def wait(self, address: str) -> float:
        """Count a request; return 0, or the seconds after which the address may try again (it isn't counted then)."""
        if not self._interval:
            return 0.0
        key, now = _network(address), self._clock()
        filled = max(now, self._empty_at.get(key, now)) + self._interval
        # a hair of tolerance: who comes back exactly as told is not sent away by the last bit of a sum
        if filled - now > self._burst + 1e-6:
            return filled - now - self._burst
        self._empty_at.pop(key, None)
        self._empty_at[key] = filled  # the newest stand last
        if len(self._empty_at) > _MOST:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop who has an empty bucket, and those who were not seen for longest where that is not enough."""
        kept = [(key, at) for key, at in self._empty_at.items() if at > now]
        self._empty_at = dict(kept[-_MOST // 2 :])


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # what a proxy wrote, or a socket without addresses
        return "unknown"
    if found.version == 6:
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)
