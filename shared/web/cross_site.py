"""Which requests a page of another site made a browser send (cross-site request forgery).

Browsers say it in `Sec-Fetch-Site` (Fetch Metadata), and older ones, or those that speak plain HTTP
to another machine, in `Origin`; a page can forge neither. Other programs send neither of them. The
same rule as the `CrossOriginProtection` of Go's net/http.

A setting that allows other origins (CORS) would be looked at before `Sec-Fetch-Site` here, and its
preflights answered in `shared.web.edge.Edge`.
"""

from collections.abc import Iterable

from starlette.types import Scope

from shared.web.public_address import PublicAddresses

# RFC 9110, 9.2.1: they change nothing. What they answer a page of another site cannot read.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# `none`: the user did it, by the address bar or a bookmark. `same-site` is another host: a blog, or
# a page that a customer may write.
OUR_OWN = (b"same-origin", b"none")


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
                return True
            is_ours = True
        elif name == b"origin":
            origin = value
    if is_ours or origin is None:
        return False
    return not addresses.of(scope).has_origin(origin.decode("latin-1"))
