"""The public URL of a request and the address of its client, behind any number of proxies.

`X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` count if they come from a trusted proxy and are
well-formed. `Forwarded` (RFC 7239) is not read.
"""

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import Scope

from shared.config.public_url import (
    ANY_PEER,
    DEFAULT_PORTS,
    SCHEMES,
    PublicAddress,
    is_host,
    is_prefix,
    parse_proxies,
    parse_public_url,
)

Address = IPv4Address | IPv6Address

# Each trusted proxy adds an element to X-Forwarded-For; no deployment has more in a row.
HOPS_MAX = 20
PEERS_REMEMBERED = 4_096


class PublicAddresses:
    """Reads a request's scope as the server made it.

    Args:
        public_url: of the system; "" to take it from each request.
        trusted_proxies: addresses and networks with commas between; `*` trusts every peer, and no
            hop before it.

    Raises:
        ValueError: one of them is malformed.
    """

    def __init__(self, public_url: str, trusted_proxies: str) -> None:
        self._public = parse_public_url(public_url) if public_url else None
        self._any_peer = trusted_proxies.strip() == ANY_PEER
        self._proxies = parse_proxies(trusted_proxies)
        self._trusts_peer = lru_cache(PEERS_REMEMBERED)(self._is_trusted_peer)

    @property
    def public_url(self) -> str | None:
        """The one that was set, without a slash at its end."""
        return self._public.url if self._public is not None else None

    def of(self, scope: Scope) -> PublicAddress:
        """The public URL as the client used it.

        Of a list, the first element counts: the outermost proxy's, which must replace what clients
        send. Without a usable Host it is the local address of the connection
        (RFC 9110, 7.1).
        """
        if self._public is not None:
            return self._public
        scheme: str = scope["scheme"]
        host = _first(scope, b"host")
        prefix = ""
        if self._trusts(scope):
            forwarded_scheme = _first(scope, b"x-forwarded-proto").lower()
            if forwarded_scheme in SCHEMES:
                scheme = forwarded_scheme
            forwarded_host = _first(scope, b"x-forwarded-host")
            if is_host(forwarded_host):
                host = forwarded_host
            prefix = _prefix(_first(scope, b"x-forwarded-prefix"))
        return PublicAddress(scheme, host if is_host(host) else _server(scope), prefix)

    def prefix(self, scope: Scope) -> str:
        """The path under which a proxy mounts the system, or "": `of(scope).prefix`, sooner."""
        if self._public is not None:
            return self._public.prefix
        forwarded = _first(scope, b"x-forwarded-prefix")
        return _prefix(forwarded) if forwarded and self._trusts(scope) else ""

    def client(self, scope: Scope) -> str:
        """The address of the client; "" where there is none, as on a unix socket.

        X-Forwarded-For is read from the right, as long as the proxy that added an element is
        trusted: the elements before may be forged.
        """
        address = _peer(scope)
        if not self._trusts_peer(address):
            return address
        for hop in _hops(scope):
            address = str(hop)
            if not self._is_proxy(hop):
                break
        return address

    def _trusts(self, scope: Scope) -> bool:
        return self._trusts_peer(_peer(scope))

    def _is_trusted_peer(self, peer: str) -> bool:
        address = _address(peer)
        return self._any_peer or (address is not None and self._is_proxy(address))

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


def _first(scope: Scope, name: bytes) -> str:
    """The first element of a header, over all of its lines (RFC 9110, 5.3)."""
    for header, value in scope["headers"]:
        if header == name:
            text: str = value.partition(b",")[0].decode("latin-1")
            return text.strip()
    return ""


def _hops(scope: Scope) -> Iterator[Address]:
    """The addresses of X-Forwarded-For from the last to the first, up to one that is malformed."""
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    elements = b",".join(lines).decode("latin-1").rsplit(",", HOPS_MAX)[-HOPS_MAX:]
    for element in reversed(elements):
        hop = element.strip()
        if hop.startswith("["):
            hop = hop[1:].partition("]")[0]
        elif hop.count(":") == 1:
            hop = hop.partition(":")[0]
        address = _address(hop)
        if address is None:
            return
        yield address


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _server(scope: Scope) -> str:
    host, port = scope.get("server") or ("localhost", None)
    if ":" in host:
        host = f"[{host}]"
    if port is None or str(port) == DEFAULT_PORTS.get(scope["scheme"]):
        return str(host)
    return f"{host}:{port}"


def _address(text: str) -> Address | None:
    """An IPv4 client of a socket for both versions has an IPv6 address that holds its own."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    return prefix if is_prefix(prefix) else ""
