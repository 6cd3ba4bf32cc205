"""The rule of the address where buyers pay: a page that any browser opens."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from yarl import URL

MAX_CHARACTERS: Final = 2_000
# As much of the rule as a JSON schema can say.
PATTERN: Final = r"^[Hh][Tt][Tt][Pp][Ss]?://[!-\[\]-~]+$"
# As DNS has them, and underscores, which are in use.
NAME = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
# To a browser a host whose last label is a number is an IPv4 address, perhaps in an old form.
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def payment_url(text: str) -> str:
    """Raises:
    ValueError: says what is wrong.
    """
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("Must be a URL of ASCII characters without spaces and backslashes.")
    try:
        url = URL(text)
        _ = url.host  # of xn--..., what that stands for
    except ValueError:
        raise ValueError("Must be a URL.") from None
    if url.scheme not in ("https", "http") or not text.lower().startswith(f"{url.scheme}://"):
        raise ValueError("Must be an https:// or http:// URL.")
    # As it was written: yarl leaves out what is empty.
    authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
    if "@" in authority:
        raise ValueError("Must have no user info.")
    if not _is_host((url.raw_host or "").lower(), in_brackets="[" in authority):
        raise ValueError("Must have a host as DNS writes it, or an IP address.")
    return text


def _is_host(host: str, *, in_brackets: bool) -> bool:
    is_number = NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])
    try:
        if in_brackets:
            return IPv6Address(host).scope_id is None
        return bool(IPv4Address(host) if is_number else NAME.fullmatch(host))
    except ValueError:
        return False
