"""Limits how often one address may try a password or register."""

import ipaddress
from collections.abc import Mapping

from gateway.rate_limits.limiter import RateLimiter
from gateway.rate_limits.token_bucket import Rate
from shared.bounded_executor import BoundedExecutor
from shared.settings import Settings

# A subscriber is given a whole /64 of IPv6 and can use any address in it (RFC 6177, RFC 7934).
IPV6_PREFIX_BITS = 64
# Draws that may wait: with Redis silent, one takes half a second and the next ones nothing.
WAITING_MAX = 1_000


class AddressLimit:
    """One bucket for each address, drawn from in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._rate = Rate(settings.sign_in_rate_burst, settings.sign_in_rate_per_second)
        self._limiter = RateLimiter("sign-in", self._rate, settings)
        self._threads = BoundedExecutor("rate-limit", threads=1, waiting_max=WAITING_MAX)

    async def draw(self, address: str) -> Mapping[str, str]:
        """Take a token; returns the headers that tell what is left.

        Raises:
            TooManyRequests: there is none to take.
        """
        if self._rate.is_unlimited:
            return {}
        bucket = bucket_of(address)
        self._limiter.refuse_if_known(bucket)
        (drawn,) = await self._threads.run(self._limiter.draw, [bucket])
        return self._limiter.settle(drawn)

    def close(self) -> None:
        self._threads.close()
        self._limiter.close()


def bucket_of(address: str) -> str:
    """The name that all addresses of one subscriber share; what is no address is its own name."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), IPV6_PREFIX_BITS), strict=False))
    return str(parsed)
