"""Parses the public URL, the trusted proxies and the allowed origins that an operator sets."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import unquote, urlsplit

Network = IPv4Network | IPv6Network

HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
PORT_MAX = 65_535
# RFC 3986, 3.3: segments of a path, none of them empty. Without `;`, which would end the path of a
# cookie.
PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@%-]+)+")
PREFIX_MAX_CHARACTERS = 1_000
DEFAULT_PORTS = {"http": "80", "https": "443"}
SCHEMES = tuple(DEFAULT_PORTS)
ANY_PEER = "*"


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """`prefix`: "" or a path without a trailing slash."""

    scheme: str
    host: str
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.prefix}"

    def has_origin(self, origin: str) -> bool:
        """Whether a page of this origin (RFC 6454, 7) was served by this host and port.

        The scheme is not compared: a proxy that terminates TLS may not forward it.
        """
        scheme, separator, host = origin.partition("://")
        if not separator or scheme not in SCHEMES:
            return False
        return _with_port(host, scheme) == _with_port(self.host, scheme)


def _with_port(host: str, scheme: str) -> str:
    has_port = re.search(r":[0-9]+$", host) is not None
    return (host if has_port else f"{host}:{DEFAULT_PORTS[scheme]}").lower()


def parse_public_url(url: str) -> PublicAddress:
    """Parse the URL by which clients reach a deployment.

    Raises:
        ValueError: it is not http(s), or has user info, a query, a fragment, or a malformed host or
            path.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("must be an http:// or https:// URL")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError("must have no user info, query or fragment")
    if not is_host(parts.netloc) or parts.port == 0:
        raise ValueError("must name a host (IDNs in their ASCII form), with its port if need be")
    prefix = parts.path.rstrip("/")
    if prefix and not is_prefix(prefix):
        raise ValueError("must have a path of plain segments, such as /tickets")
    return PublicAddress(parts.scheme, parts.netloc, prefix)


def parse_proxies(setting: str) -> tuple[Network, ...]:
    """Addresses and networks with commas between; none for `*`.

    Raises:
        ValueError: one of them is neither.
    """
    if setting.strip() == ANY_PEER:
        return ()
    try:
        return parse_networks(setting)
    except ValueError as error:
        raise ValueError(f"{error}; or {ANY_PEER}") from error


def parse_networks(setting: str) -> tuple[Network, ...]:
    """Addresses and networks with commas between.

    Raises:
        ValueError: one of them is neither.
    """
    try:
        return tuple(
            ip_network(element.strip(), strict=False)
            for element in setting.split(",")
            if element.strip()
        )
    except ValueError as error:
        raise ValueError(f"must be addresses or networks with commas between: {error}") from error


def parse_origins(setting: str) -> tuple[str, ...]:
    """Origins with commas between, in the form that browsers send.

    Raises:
        ValueError: one of them is none; or it is `*`.
    """
    return tuple(_origin(element.strip()) for element in setting.split(",") if element.strip())


def _origin(text: str) -> str:
    if text == "*":
        raise ValueError("must name each origin: * would let every page use its visitors' browsers")
    address = parse_public_url(text)
    if text.count("/") > 2:
        raise ValueError("must be origins such as https://shop.example, without a path")
    return address.url.lower().removesuffix(f":{DEFAULT_PORTS[address.scheme]}")


def is_host(text: str) -> bool:
    match = HOST.fullmatch(text)
    return match is not None and int(match[1] or 0) <= PORT_MAX


def is_prefix(text: str) -> bool:
    if len(text) > PREFIX_MAX_CHARACTERS or PREFIX.fullmatch(text) is None:
        return False
    # Encoded or not, browsers resolve them (RFC 3986, 5.2.4 and 6.2.2.2).
    return not {".", ".."} & set(unquote(text).split("/"))
