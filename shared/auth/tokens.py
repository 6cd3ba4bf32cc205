"""Signs and verifies tokens. Every service verifies for itself, with the public keys alone."""

import binascii
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from math import inf
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Literal
from uuid import UUID

import jwt
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from uuid_utils.compat import uuid7

from shared.auth.caller import KEY_PREFIX
from shared.auth.keys import KEYS_RELOAD_SECONDS, SigningKey, load_public_keys
from shared.config.settings import Settings
from shared.errors import (
    NotAuthenticated,
    NotFound,
    TokenExpired,
    TokenMalformed,
    TokenNotValid,
)
from shared.row_ids import row_id

# Fixed, never read from a token's own header (RFC 8725, 3.1).
ALGORITHM = "RS256"
TokenType = Literal["access", "refresh"]
# Headers remembered, of valid tokens only: one for each key is enough.
KNOWN_HEADERS = 64
# A token of ours has about 600 bytes; a longer one is not parsed.
TOKEN_MAX_BYTES = 4_096
# A token of an unknown key makes a verifier read the directory again, at most this often: forged
# tokens then cost 0.1 ms a second.
UNKNOWN_KEY_RELOAD_SECONDS = 1.0
# What parsing arbitrary bytes raises. Base64, UTF-8, JSON and UUIDs raise ValueError; msgspec
# raises RecursionError on deep nesting, and no DecodeError.
UNREADABLE = (ValueError, RecursionError)
# Clocks of several hosts differ; a token from this far in the future is still valid.
CLOCK_SKEW_SECONDS = 5
PADDING, HASH = PKCS1v15(), SHA256()  # RS256 (RFC 7518, 3.3)
URL_ALPHABET = f"{ascii_uppercase}{ascii_lowercase}{digits}-_"  # RFC 4648, 5
# RFC 7515, 2: the URL's alphabet, and no padding.
FROM_URL_ALPHABET = bytes.maketrans(b"-_+/=", b"+/!!!")
# By the length modulo 4: a last character with bits that belong to no byte has zeros there.
LAST_CHARACTERS = {
    0: frozenset(URL_ALPHABET),
    1: frozenset[str](),
    2: frozenset(URL_ALPHABET[::16]),
    3: frozenset(URL_ALPHABET[::4]),
}


class _Header(msgspec.Struct):
    """A header of RFC 7515.

    `crit` names extensions that we would have to know, and `b64` is one (RFC 7797): we know none.
    """

    alg: str
    kid: str
    crit: object = msgspec.UNSET
    b64: object = msgspec.UNSET


class _Payload(msgspec.Struct):
    iss: str
    aud: str
    sub: str
    typ: str
    jti: UUID
    iat: int
    exp: int
    nbf: int = 0


# RFC 7519, 3: header, claims and signature, which is empty in an unsecured token.
JWT_FORM = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
EXPIRED: Mapping[str, str] = {
    "access": TokenExpired.default_detail,
    "refresh": "The refresh token has expired; sign in again.",
}
# Of a genuine token in the place of the other one.
OTHER_TYPE: Mapping[str, str] = {
    "access": "This is an access token; send the refresh token.",
    "refresh": "This is a refresh token; send the access token.",
}


class UnknownKey(ValueError):
    pass


_header_decoder = msgspec.json.Decoder(_Header)
_payload_decoder = msgspec.json.Decoder(_Payload)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Claims(msgspec.Struct, frozen=True):
    user_id: int
    token_id: UUID
    issued_at: int  # Unix seconds
    expires_at: int
    token_type: str = "access"


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
        token_type: `access` is for routes, `refresh` only gets new tokens.
        token_id: its `jti`; a new one by default.
        issued_at: Unix seconds; now by default.
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


class _Trusted:
    """One set of public keys, with what was verified by it; another set starts empty.

    A thread that still uses the former set leaves its result there.
    """

    __slots__ = ("checked", "key_by_header", "keys")

    def __init__(self, keys: Mapping[str, RSAPublicKey]) -> None:
        self.keys = keys
        self.key_by_header: dict[str, RSAPublicKey] = {}
        self.checked: OrderedDict[str, Claims] = OrderedDict()


class TokenVerifier:
    """Verifies tokens, and caches valid access tokens until they expire. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # By user: tokens that were issued before this moment (Unix seconds) are void.
        self.valid_from: Mapping[int, float] = {}
        self._trusted = _Trusted({})
        self._keys_read_at = float("-inf")
        self._reading = threading.Lock()

    def public_keys(self) -> Mapping[str, RSAPublicKey]:
        """The keys that verify, at most `KEYS_RELOAD_SECONDS` old."""
        return self._trusted_now().keys

    def remembered(self, token: str) -> Claims | None:
        """The claims of an access token that was verified before."""
        trusted = self._trusted_now()
        claims = trusted.checked.get(token)
        if claims is None:
            return None
        if claims.expires_at > time.time() and not self.is_void(claims.user_id, claims.issued_at):
            return claims
        trusted.checked.pop(token, None)  # another thread may have been first
        return None

    def verify_and_remember(self, token: str) -> Claims:
        """The claims of an access token.

        Raises:
            NotAuthenticated: it is invalid.
        """
        trusted = self._trusted_now()
        claims = self._verify(trusted, token, "access")
        trusted.checked[token] = claims
        if len(trusted.checked) > self._settings.token_cache_rows:
            with suppress(KeyError):  # other threads may have emptied it
                trusted.checked.popitem(last=False)
        return claims

    def verify(self, token: str, *token_types: TokenType) -> Claims:
        """The claims of a token of one of these types, without the cache.

        Raises:
            NotAuthenticated: its signature, times, issuer, audience or type are invalid.
        """
        return self._verify(self._trusted_now(), token, *token_types)

    def _trusted_now(self, *, not_older_than: float = KEYS_RELOAD_SECONDS) -> _Trusted:
        if time.monotonic() - self._keys_read_at >= not_older_than:
            with self._reading:
                now = time.monotonic()
                if now - self._keys_read_at >= not_older_than:  # else another thread was first
                    keys = load_public_keys(self._settings.keys_dir)
                    if keys != self._trusted.keys:
                        self._trusted = _Trusted(keys)
                    self._keys_read_at = now
        return self._trusted

    def _verify(self, trusted: _Trusted, token: str, *token_types: TokenType) -> Claims:
        if len(token) <= TOKEN_MAX_BYTES:
            try:
                return self._claims(self._payload(trusted, token), token_types)
            except (InvalidSignature, NotFound, *UNREADABLE):
                pass
        raise invalid_token(token)

    def _payload(self, trusted: _Trusted, token: str) -> _Payload:
        try:
            return _payload(trusted, token)
        except UnknownKey:
            # Another process may have made the key just now.
            read_again = self._trusted_now(not_older_than=UNKNOWN_KEY_RELOAD_SECONDS)
            if read_again is trusted:
                raise
            return _payload(read_again, token)

    def _claims(self, payload: _Payload, token_types: Collection[TokenType]) -> Claims:
        """Raises ValueError, NotFound, TokenNotValid, TokenExpired."""
        now, user_id = time.time(), row_id(payload.sub)
        valid = (
            payload.typ in EXPIRED
            and payload.iss == self._settings.token_issuer
            and payload.aud == self._settings.token_audience
            and max(payload.iat, payload.nbf) <= now + CLOCK_SKEW_SECONDS
            and not self.is_void(user_id, payload.iat)
        )
        if not valid:
            raise ValueError("invalid claim")
        if payload.typ not in token_types:
            raise TokenNotValid(OTHER_TYPE[payload.typ])
        if payload.exp <= now:
            raise TokenExpired(EXPIRED[payload.typ])
        return Claims(user_id, payload.jti, payload.iat, payload.exp, payload.typ)

    def is_locked(self, user_id: int) -> bool:
        """Whether the operator has locked the user's account."""
        return self.valid_from.get(user_id) == inf

    def is_void(self, user_id: int, issued_at: int) -> bool:
        """Whether the user's tokens of that moment (Unix seconds) were ended since."""
        return issued_at < self.valid_from.get(user_id, 0)


def authorization_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The `Authorization` header of a request, as ASGI passes headers.

    Raises:
        TokenMalformed: there are several, of which a proxy might have verified another one.
    """
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) > 1:
        raise TokenMalformed("There is more than one Authorization header.")
    return given[0].decode("latin-1") if given else None


def bearer_token(authorization: str | None) -> str:
    """The token of an `Authorization: Bearer ...` header.

    Raises:
        NotAuthenticated: there is none.
    """
    if authorization is None:
        raise NotAuthenticated
    scheme, _, token = authorization.partition(" ")
    token = token.lstrip(" ")  # RFC 9110, 11.4: one space or more
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated
    return token


def invalid_token(token: str) -> NotAuthenticated:
    """The error for a token that is not valid: it may not even be one by its form."""
    if token.startswith(KEY_PREFIX):
        return TokenNotValid("An API key is no token: send it as Authorization Bearer.")
    return TokenNotValid() if _is_jwt(token) else TokenMalformed()


def _is_jwt(token: str) -> bool:
    if not JWT_FORM.fullmatch(token):
        return False
    if len(token) > TOKEN_MAX_BYTES:
        return True
    try:
        for part in token.split(".")[:2]:
            _object_decoder.decode(base64url_decode(part))
    except UNREADABLE:
        return False
    return True


def _payload(trusted: _Trusted, token: str) -> _Payload:
    """The payload of a token with a valid signature (docs/decisions/0007)."""
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    known = trusted.key_by_header.get(header)
    key = known or _key_of(trusted, header)
    key.verify(base64url_decode(signature), signed.encode("ascii"), PADDING, HASH)
    if known is None and len(trusted.key_by_header) < KNOWN_HEADERS:
        # All tokens of one key begin with the same header: it is read once for all of them.
        trusted.key_by_header[header] = key
    return _payload_decoder.decode(_text_of(payload))


def _key_of(trusted: _Trusted, encoded_header: str) -> RSAPublicKey:
    """The key that a token's header names. The header decides nothing else.

    Raises:
        UnknownKey: the header is well-formed, and there is no key of this id.
        ValueError: the header is not one of ours.
    """
    header = _header_decoder.decode(_text_of(encoded_header))
    is_extended = header.crit is not msgspec.UNSET or header.b64 is not msgspec.UNSET
    if header.alg != ALGORITHM or is_extended:
        raise ValueError("not a header of ours")
    key = trusted.keys.get(header.kid)
    if key is None:
        raise UnknownKey(header.kid)
    return key


def _text_of(segment: str) -> str:
    """Raises ValueError. msgspec does not look whether what it skips is UTF-8."""
    return base64url_decode(segment).decode()


def base64url_decode(segment: str) -> bytes:
    """Strict: a character that is not in the alphabet is an error, and so is a bit too many.

    Raises:
        ValueError: there is another text for these bytes, or none.
    """
    if segment and segment[-1] not in LAST_CHARACTERS[len(segment) % 4]:
        raise ValueError("not the base64url of anything")
    padded = segment.encode("ascii").translate(FROM_URL_ALPHABET) + b"=" * (-len(segment) % 4)
    return binascii.a2b_base64(padded, strict_mode=True)
