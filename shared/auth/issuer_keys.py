"""The public keys of a trusted issuer: fetched from its JWK Set, and kept while it is away."""

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.concurrency.single_flight import SingleFlight
from shared.config.trusted_issuers import TrustedIssuer
from shared.errors import EventifyError, Unavailable

# A key that the issuer takes out of its set is trusted for this long at most while we reach it.
REFRESH_SECONDS = 300.0
# And while we do not: longer than any token lives, and as long as an operator may need.
KEPT_SECONDS = 86_400.0
# Keycloak's set has 3 kB, Auth0's 4 kB.
JWKS_MAX_BYTES = 65_536
FETCH_TIMEOUT_SECONDS = 3.0
# Tokens with made-up key ids cause no more fetches than this; a new key is found as late.
FETCHES_AT_ONCE = 2
FETCHES_PER_SECOND = 0.1
PUBLIC_KEYS = (RSAPublicKey, EllipticCurvePublicKey, Ed25519PublicKey)
# What a set from elsewhere can raise, beside errors of the network.
UNUSABLE = (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError)

logger = structlog.stdlib.get_logger(__name__)

Keys = Mapping[str, jwt.PyJWK]


class UnknownIssuerKey(EventifyError):
    pass


class IssuerKeys:
    """Fetches on the event loop that calls it, one fetch at a time.

    Args:
        issuer: whose keys.
        session: makes the requests.
        wait_seconds: of a request for a fetch.
    """

    def __init__(
        self, issuer: TrustedIssuer, session: aiohttp.ClientSession, wait_seconds: float
    ) -> None:
        self._issuer = issuer
        self._session = session
        self._wait_seconds = wait_seconds
        self._fetching = SingleFlight(
            self._fetch, burst=FETCHES_AT_ONCE, per_second=FETCHES_PER_SECOND
        )
        self._keys: Keys = {}
        self._fetched_at = float("-inf")

    def current(self) -> Keys:
        """The keys that verify. Another object: other keys."""
        if time.monotonic() - self._fetched_at > KEPT_SECONDS and self._keys:
            self._keys = {}
        return self._keys

    async def find(self, kid: str) -> jwt.PyJWK:
        """The key of this id; the set is fetched again if it is not known.

        Raises:
            UnknownIssuerKey: the issuer has no such key.
            Unavailable: that cannot be known now, because the issuer does not answer.
        """
        key = self.current().get(kid)
        if key is not None:
            return key
        try:
            async with asyncio.timeout(self._wait_seconds):
                reached = await self._fetching.get()
        except TimeoutError:
            reached = False
        if not reached:
            raise Unavailable(
                "The token cannot be verified now: its issuer does not answer. Retry.",
                retry_after_seconds=round(1 / FETCHES_PER_SECOND),
            )
        key = self.current().get(kid)
        if key is None:
            raise UnknownIssuerKey
        return key

    async def refresh(self) -> None:
        """Fetch the keys if they are due."""
        if time.monotonic() - self._fetched_at >= REFRESH_SECONDS:
            await self._fetching.get()

    async def _fetch(self) -> bool:
        """Whether the issuer answered with keys. If not, the former ones are kept."""
        try:
            found = await asyncio.to_thread(self._usable, await self._read())
        except (aiohttp.ClientError, OSError, *UNUSABLE) as error:  # TimeoutError is an OSError
            reason = f"{type(error).__name__}: {error}"
            logger.warning("issuer_keys_unavailable", issuer=self._issuer.issuer, error=reason)
            return False
        self._fetched_at = time.monotonic()
        if _material(found) != _material(self._keys):
            self._keys = found
            logger.info("issuer_keys_changed", issuer=self._issuer.issuer, kids=sorted(found))
        return True

    async def _read(self) -> bytes:
        """Raises ValueError, aiohttp.ClientError, OSError."""
        async with self._session.get(self._issuer.jwks_url, allow_redirects=False) as answer:
            if answer.status != HTTPStatus.OK:  # a redirect is not followed
                raise ValueError(f"status {answer.status}")
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > JWKS_MAX_BYTES:
                    raise ValueError(f"more than {JWKS_MAX_BYTES} bytes")
            return bytes(body)

    def _usable(self, body: bytes) -> Keys:
        """The keys of a set that may verify this issuer's tokens. The first of an id counts.

        Raises:
            UNUSABLE: there is none.
        """
        keys = jwt.PyJWKSet.from_dict(msgspec.json.decode(body)).keys
        usable = {
            key.key_id: key
            for key in reversed(keys)
            if isinstance(key.key_id, str)
            and key.public_key_use in ("sig", None)
            and key.algorithm_name in self._issuer.algorithms
            and isinstance(key.key, PUBLIC_KEYS)
            and key.Algorithm.check_key_length(key.key) is None
        }
        if not usable:
            raise ValueError("no key of the issuer's algorithms")
        return usable


def open_session() -> aiohttp.ClientSession:
    """For the event loop that runs. It follows no variable that names a proxy."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS),
        connector=aiohttp.TCPConnector(force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )


def _material(keys: Keys) -> dict[str, tuple[str, object]]:
    return {kid: (key.algorithm_name, key.key) for kid, key in keys.items()}
