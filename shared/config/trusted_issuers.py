"""Parses the issuers, beside this system itself, whose access tokens are accepted."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from shared.config.public_url import is_host

# Asymmetric ones only: what verifies is public, so it must not sign.
# fmt: off
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
# fmt: on
URL_MAX_CHARACTERS = 255
LEEWAY_MAX_SECONDS = 60
VISIBLE_ASCII = re.compile(r"[!-~]+")
Text = Annotated[str, Meta(min_length=1, max_length=URL_MAX_CHARACTERS)]


class TrustedIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenID Connect issuer.

    Args:
        issuer: the `iss` of its tokens, character for character.
        audience: one of the `aud` of its tokens; this system's name there.
        jwks_url: of its public keys.
        algorithms: of its signatures.
        leeway_seconds: by which its clock and ours may differ.
        allow_http: fetch the keys without TLS also from another host.
    """

    issuer: Text
    audience: Text
    jwks_url: Text
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256",)
    leeway_seconds: Annotated[int, Meta(ge=0, le=LEEWAY_MAX_SECONDS)] = 5
    allow_http: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError."""
        host_of(self.issuer)
        host = host_of(self.jwks_url)
        plain = self.jwks_url.startswith("http://")
        if plain and not self.allow_http and not _is_loopback(host):
            raise ValueError("`jwks_url` must be an https:// URL (or set `allow_http`)")


def parse_issuers(setting: str) -> tuple[TrustedIssuer, ...]:
    """A JSON list of issuers; none for "".

    Raises:
        ValueError: it is not such a list, or names an issuer twice.
    """
    if not setting:
        return ()
    try:
        issuers = msgspec.json.decode(setting, type=tuple[TrustedIssuer, ...])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"must be a JSON list of issuers: {error}") from error
    if len({each.issuer for each in issuers}) < len(issuers):
        raise ValueError("must name each issuer once")
    return issuers


def host_of(url: str) -> str:
    """Raises:
    ValueError: not an http(s) URL with a host, or one with user info or a fragment.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not VISIBLE_ASCII.fullmatch(url):
        raise ValueError(f"{url!r} must be an https:// or http:// URL")
    if "@" in parts.netloc or "#" in url or not is_host(parts.netloc):
        raise ValueError(f"{url!r} must name a host, without user info or fragment")
    return parts.hostname or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
