"""What gateway and sender know of webhooks: above all, not to send into our own network."""

import base64
from collections.abc import Collection
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final
from uuid import UUID

from yarl import URL

from shared.config.public_url import Network

URL_MAX_CHARACTERS: Final = 2_000
# Beside what Python has as not global (IANA's registries of special-purpose addresses; its versions
# differ): multicast, relays, transition to IPv6, and Azure's own services. A test compares.
NOT_PUBLIC: Final = tuple(
    ip_network(network)
    for network in (
        *("168.63.129.16/32", "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.175.48.0/24", "224.0.0.0/4", "::/96", "::ffff:0:0:0/96"),
        *(
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "100:0:0:1::/64",
            "2001::/23",
            "2002::/16",
            "2620:4f:8000::/48",
        ),
        *("3fff::/20", "5f00::/16", "fec0::/10", "ff00::/8"),
    )
)
# The last 32 bits are the IPv4 address that is connected to (RFC 6052, 2.1).
NAT64: Final = ip_network("64:ff9b::/96")


def message_id(delivery_id: UUID) -> str:
    """The `webhook-id` of a delivery."""
    return f"msg_{delivery_id.hex}"


def written_secret(secret: bytes) -> str:
    """As Standard Webhooks write it."""
    return f"whsec_{base64.b64encode(secret).decode()}"


def is_allowed_address(text: str, allowed: Collection[Network] = ()) -> bool:
    """Whether it is public, or in a network that the operator allows.

    An IPv4 address in IPv6 (`::ffff:10.0.0.1`) is judged as what is connected to. So is one behind
    NAT64 (`64:ff9b::10.0.0.1`), if the operator allows that.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    if any(address in network for network in allowed):
        behind = IPv4Address(int(address) % 2**32) if address in NAT64 else None
        return behind is None or is_allowed_address(str(behind), allowed)
    return address.is_global and not any(address in network for network in NOT_PUBLIC)


def url_problem(text: str, *, allow_http: bool, allowed: Collection[Network]) -> str | None:
    """Why a webhook may not have this URL. What its name stands for is seen when connecting."""
    if len(text) > URL_MAX_CHARACTERS:
        return f"Must have at most {URL_MAX_CHARACTERS} characters."
    if not text.isascii() or not text.isprintable() or " " in text:
        return "Must be a URL of printable ASCII characters."
    try:
        url = URL(text)
        host = url.host  # of xn--..., what that stands for
    except ValueError:
        return "Must be a URL."
    if url.scheme not in (("https", "http") if allow_http else ("https",)) or not host:
        return f"Must be an https://{' or http://' if allow_http else ''} URL."
    if "@" in url.authority or "#" in text:
        return "Must have no user info and no fragment."
    if "%" in host or url.explicit_port == 0:
        return "Must have a host as DNS writes it, and no port 0."
    return None if _may_be_public(host, allowed) else "Must be a public address."


def _may_be_public(host: str, allowed: Collection[Network]) -> bool:
    last_label = host.rstrip(".").rpartition(".")[2]
    if last_label == "localhost":
        host = "127.0.0.1"
    try:
        return is_allowed_address(host, allowed)
    except ValueError:
        # A name, unless it is an address in one of its old forms: 127.1, 0x7f000001, 2130706433.
        return not (last_label.isdigit() or last_label.startswith("0x"))
