"""What RFC 9110 and RFC 9112 ask of the head of a request, beyond what the parser checks. Pure."""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

import httptools
from uuid_utils import uuid7

from shared.errors import InvalidInput

Headers = list[tuple[bytes, bytes]]

# 64 KiB of the shortest headers would be 16,000 tuples: 2.4 MB for each connection.
HEADERS_MAX: Final = 200
# One installation has few hosts. What a client invents is forgotten again.
REMEMBERED: Final = 64

# Those that we read and that have one value: with two, a proxy may believe one and we the other.
# Authorization is refused by `TokenVerifier.caller`, as 401.
SINGLE = frozenset(
    {
        *(b"host", b"content-length", b"transfer-encoding", b"content-type"),
        *(b"idempotency-key", b"last-event-id", b"origin", b"sec-fetch-site", b"sec-fetch-mode"),
    }
)
# Those that we read and that are lists: several lines are one list (RFC 9110, 5.3).
LISTS = frozenset(
    {
        *(b"accept", b"if-match", b"if-none-match", b"prefer"),
        *(b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"),
        b"x-forwarded-prefix",
    }
)
# RFC 3986, 3.2.2 and 3.2.3: uri-host [ ":" port ], but for a comma, which looks like two hosts.
HOST = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*)(?::([0-9]*))?"
)
# RFC 9112, 3.2.2
ABSOLUTE = re.compile(rb"https?://([^/?#]+)", re.IGNORECASE)

# A client's own goes into logs and rows: short and harmless.
GIVEN_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")


def join_repeated(headers: Headers) -> Headers:
    """The same headers, each list in one line.

    Raises:
        InvalidInput: a header that has a single value is repeated.
    """
    lists: dict[bytes, list[bytes]] = {}
    singles: set[bytes] = set()
    for name, value in headers:
        if name in LISTS:
            lists.setdefault(name, []).append(value)
        elif name in singles:
            raise InvalidInput(errors={name.decode().title(): ["Send this header once."]})
        elif name in SINGLE:
            singles.add(name)
    return [
        (name, b", ".join(lists.pop(name)) if name in LISTS else value)
        for name, value in headers
        if name not in LISTS or name in lists
    ]


@lru_cache(REMEMBERED)
def check_head(method: str, version: str, host: bytes | None, coding: bytes | None) -> None:
    """Check for requests that we do not support, or that a proxy could read in another way.

    Args:
        version: of HTTP, as "1.1".
        coding: `Transfer-Encoding`.

    Raises:
        InvalidInput: with a sentence for the client.
    """
    if version not in ("1.1", "1.0"):
        # 505 would be an invitation to try again, by our own documentation.
        raise InvalidInput("The version of HTTP must be 1.1 or 1.0.")
    if method == "CONNECT":  # RFC 9110, 9.3.6: for proxies
        raise InvalidInput("CONNECT is not supported.")
    if host is None:
        if version == "1.1":
            raise InvalidInput("The Host header is missing.")
    elif not is_host(host):
        raise InvalidInput("The Host header is not valid.")
    if coding is not None:
        if version == "1.0":  # RFC 9112, 6.1: its framing is faulty
            raise InvalidInput("Transfer-Encoding needs HTTP/1.1.")
        if coding.lower() != b"chunked":
            raise InvalidInput('The only Transfer-Encoding that is understood is "chunked".')


def is_host(value: bytes) -> bool:
    """Whether a `Host` has the form that RFC 9110, 7.2 asks for. It may be empty."""
    match = HOST.fullmatch(value)
    if match is None or int((match[2] or b"0")[:6]) > 65_535:
        return False
    if match[1] is not None:
        try:
            IPv6Address(match[1].decode())
        except AddressValueError:
            return False
    return True


def read_target(method: str, target: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Path, query and authority (None: `Host` has it) of a request's target (RFC 9112, 3.2).

    Raises:
        InvalidInput: its form is not allowed with this method.
    """
    if target.startswith(b"/"):
        if b"#" in target:
            target = target.partition(b"#")[0]
        path, _, query = target.partition(b"?")
        return path, query, None
    if target == b"*":
        if method != "OPTIONS":
            raise InvalidInput("Only OPTIONS may ask for *.")
        return b"*", b"", None
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise InvalidInput("The target of the request is not valid.") from None
    absolute = ABSOLUTE.match(target)
    if absolute is None or not is_host(absolute[1]):
        raise InvalidInput("The target of the request is not valid.")
    return url.path or b"/", url.query or b"", absolute[1]


def with_host(headers: Headers, host: bytes | None) -> Headers:
    others = [header for header in headers if header[0] != b"host"]
    return others if host is None else [(b"host", host), *others]


def request_id(headers: Headers) -> bytes:
    """The client's own `X-Request-ID` if its form is harmless, or a new one."""
    for name, value in headers:
        if name == b"x-request-id" and GIVEN_REQUEST_ID.fullmatch(value):
            return value
    return str(uuid7()).encode()
