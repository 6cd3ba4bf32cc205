"""Detects requests that a page of another site makes a browser send (CSRF).

Browsers send `Sec-Fetch-Site` (Fetch Metadata); older ones, and all of them over plain HTTP to
another machine, send `Origin`. A page can forge neither, and other programs send neither. The same
rule as the `CrossOriginProtection` of Go's net/http.
"""

from collections.abc import Iterable

from starlette.types import Scope

from shared.web.public_address import PublicAddresses

# RFC 9110, 9.2.1: they change nothing, and a page of another site cannot read the response.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# `none`: the user did it, by the address bar or a bookmark. `same-site` is another host: a blog, or
# a page that a customer may write.
OUR_OWN = (b"same-origin", b"none")
# A key of the scope: whether the operator allows the request's `Origin` (CORS).
ORIGIN_ALLOWED = "eventify.origin_allowed"


def is_cross_site(scope: Scope, addresses: PublicAddresses) -> bool:
    """Whether a request that may change something comes from a page of another site."""
    if scope["method"] in SAFE_METHODS:
        return False
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    is_ours = False
    origin: bytes | None = None
    for name, value in headers:
        if name == b"sec-fetch-site":
            if value not in OUR_OWN:
                return not scope.get(ORIGIN_ALLOWED)
            is_ours = True
        elif name == b"origin":
            origin = value
    if is_ours or origin is None or scope.get(ORIGIN_ALLOWED):
        return False
    return not addresses.of(scope).has_origin(origin.decode("latin-1"))
