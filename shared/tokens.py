"""Signs tokens and checks them. Every service checks for itself, against the public keys alone."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from uuid_utils.compat import uuid7

from shared.errors import NotAuthenticated
from shared.keys import SigningKey, load_public_keys
from shared.settings import Settings

# Fixed by us, never taken from a token's own header (RFC 8725, 3.1).
ALGORITHM = "RS256"
TokenType = Literal["access", "refresh"]
# Unknown key ids make the folder be read again, yet not more often than this.
KEYS_RELOAD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Claims:
    """What a checked token says."""

    user_id: int
    token_id: UUID
    expires_at: int  # Unix seconds


def mint(
    settings: Settings,
    key: SigningKey,
    user_id: int,
    token_type: TokenType,
    *,
    token_id: UUID | None = None,
    issued_at: int | None = None,
) -> str:
    """Sign a token; the same arguments give the same token, byte for byte.

    Args:
        settings: issuer, audience and lifetimes.
        key: signs it, and is named in its header.
        user_id: the token's subject.
        token_type: `access` opens routes, `refresh` only gets new tokens.
        token_id: its `jti`; a new one when not given.
        issued_at: Unix seconds; now when not given.
    """
    issued_at = int(time.time()) if issued_at is None else issued_at
    lifetime_seconds = (
        settings.access_token_seconds if token_type == "access" else settings.refresh_token_seconds
    )
    claims = {
        "iss": settings.token_issuer,
        "aud": settings.token_audience,
        "sub": str(user_id),
        "typ": token_type,
        "jti": str(token_id or uuid7()),
        "iat": issued_at,
        "exp": issued_at + lifetime_seconds,
    }
    return jwt.encode(claims, key.private_key, algorithm=ALGORITHM, headers={"kid": key.kid})


class TokenVerifier:
    """Checks tokens, and remembers the access tokens that it has checked until they expire."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys: Mapping[str, RSAPublicKey] = {}
        self._keys_loaded_at = float("-inf")
        self._checked: OrderedDict[str, Claims] = OrderedDict()

    def public_keys(self) -> Mapping[str, RSAPublicKey]:
        """The keys that verify, read again every few seconds at the most."""
        now = time.monotonic()
        if now - self._keys_loaded_at >= KEYS_RELOAD_SECONDS:
            self._keys = load_public_keys(self._settings.keys_dir)
            self._keys_loaded_at = now
        return self._keys

    def authenticate(self, authorization: str | None) -> Claims:
        """The claims of an `Authorization: Bearer ...` header.

        Raises:
            NotAuthenticated: there is no such header, or its token does not stand the check.
        """
        if authorization is None:
            raise NotAuthenticated
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated
        claims = self._checked.get(token)
        if claims is not None:
            if claims.expires_at > time.time():
                return claims
            del self._checked[token]
        claims = self.verify(token, "access")
        self._checked[token] = claims
        if len(self._checked) > self._settings.token_cache_rows:
            self._checked.popitem(last=False)
        return claims

    def verify(self, token: str, token_type: TokenType) -> Claims:
        """The claims of a token, checked afresh.

        Raises:
            NotAuthenticated: its signature, times, issuer, audience or type do not hold.
        """
        invalid = NotAuthenticated("The token is invalid or has expired.")
        if len(token) > self._settings.token_max_bytes:
            raise invalid
        try:
            payload = jwt.decode(
                token,
                self._key_of(token),
                algorithms=[ALGORITHM],
                issuer=self._settings.token_issuer,
                audience=self._settings.token_audience,
                options={"require": ["iss", "aud", "sub", "typ", "jti", "iat", "exp"]},
            )
            return _claims(payload, token_type)
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError) as error:
            raise invalid from error

    def _key_of(self, token: str) -> RSAPublicKey:
        kid = jwt.get_unverified_header(token).get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None and isinstance(kid, str):
            key = self.public_keys().get(kid)
        if key is None:
            raise jwt.InvalidTokenError("unknown key")
        return key


def _claims(payload: Mapping[str, Any], token_type: TokenType) -> Claims:
    if payload["typ"] != token_type:
        raise jwt.InvalidTokenError("wrong type")
    user_id = int(payload["sub"])
    if not 0 < user_id < 2**63:
        raise jwt.InvalidTokenError("impossible subject")
    return Claims(user_id, UUID(payload["jti"]), int(payload["exp"]))
