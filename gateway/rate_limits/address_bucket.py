"""The name by which an address is limited."""

import ipaddress

# A subscriber is given a whole /64 of IPv6 and can use any address in it (RFC 6177, RFC 7934).
IPV6_PREFIX_BITS = 64


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
