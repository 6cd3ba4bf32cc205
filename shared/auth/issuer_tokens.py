"""Access tokens of trusted issuers: verified by the keys of their issuer, and a user for each.

An issuer's subject is a user here, without a password. The issuer that a token names, unverified,
only chooses the keys and algorithms by which the token is verified.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import jwt
import msgspec
import structlog

from shared.auth.issuer_keys import IssuerKeys, Keys, UnknownIssuerKey, open_session
from shared.auth.tokens import UNREADABLE, Claims, base64url_decode, invalid_token
from shared.concurrency.periodic import Periodic
from shared.config.settings import Settings
from shared.config.trusted_issuers import URL_MAX_CHARACTERS, TrustedIssuer, parse_issuers
from shared.errors import TokenExpired
from shared.log_limit import LogLimit

# Issuers add roles and groups; one of ours has 600 bytes.
TOKEN_MAX_BYTES = 8_192
# OpenID Connect Core, 2: 255 ASCII characters. Others are taken as well.
SUBJECT_MAX_CHARACTERS = 255
# RFC 9068, 2.1; older issuers write JWT or nothing.
TOKEN_TYPES = ("jwt", "at+jwt", "application/at+jwt")
# Keycloak's claim: other types are ID, Refresh, Offline, Logout and DPoP.
BEARER = "bearer"
# Claims of ID tokens alone (OpenID Connect Core, 2 and 3.3.2.11); Keycloak once had the nonce in
# access tokens too, which it marks.
OF_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")
# What a token can raise, beside Unavailable.
REFUSED = (jwt.PyJWTError, UnknownIssuerKey, TypeError, ArithmeticError, *UNREADABLE)
REQUIRED = ["iss", "aud", "sub", "exp"]
# How long a subject's user is remembered: so long a user who was deleted stays unknown.
USER_KEPT_SECONDS = 300.0
# 100 bytes each with its user.
SUBJECTS_REMEMBERED = 50_000
# A refresh that failed is tried again after this long.
REFRESH_PAUSE_SECONDS = 15.0
# A line of each reason: whoever connects an issuer tries one token after another.
REFUSAL_LOGGED_SECONDS = 10.0
# docs/operations.md says what each means.
REASONS: Mapping[type[Exception], str] = {
    UnknownIssuerKey: "unknown_key",
    jwt.InvalidAlgorithmError: "other_algorithm",
    jwt.InvalidSignatureError: "bad_signature",
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not_yet_valid",
    jwt.InvalidAudienceError: "other_audience",
    jwt.exceptions.InvalidSubjectError: "unusable_sub",
}
# Their tokens need no id: nothing here refers to them.
NO_TOKEN_ID = UUID(int=0)

K = TypeVar("K")
V = TypeVar("V")

logger = structlog.stdlib.get_logger(__name__)


class Subject(NamedTuple):
    """Somebody as an issuer names them."""

    issuer: str
    subject: str


FindUser = Callable[[Subject], Awaitable[int]]


class _Unfit(ValueError):
    """The token is not for this use; the text is the reason that is logged."""


class _Header(msgspec.Struct):
    kid: str
    typ: str = "JWT"


class _Issuer(msgspec.Struct):
    """The one member of a token's payload that is read before its signature is verified."""

    iss: str


class _Verified(msgspec.Struct, frozen=True):
    subject: Subject
    issued_at: int
    expires_at: int
    keys: Keys  # that verified it


class _Trusted(msgspec.Struct, frozen=True):
    terms: TrustedIssuer
    keys: IssuerKeys


_header_decoder = msgspec.json.Decoder(_Header)
_issuer_decoder = msgspec.json.Decoder(_Issuer)


class TrustedIssuers:
    """Verifies their tokens and caches valid ones until they expire. Of one event loop.

    Args:
        settings: issuers and limits.
        find_user: the id of a subject's user. It raises NotAuthenticated or Unavailable.
    """

    def __init__(self, settings: Settings, find_user: FindUser) -> None:
        self._settings = settings
        self._find_user = find_user
        self._lines = LogLimit(REFUSAL_LOGGED_SECONDS)
        self._trusted: dict[str, _Trusted] = {}
        self._verified: OrderedDict[str, _Verified] = OrderedDict()
        self._users: OrderedDict[Subject, tuple[int, float]] = OrderedDict()
        self._looked_up: dict[Subject, asyncio.Future[int]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetches their keys until the block ends; nothing waits for the first fetch."""
        async with open_session() as session, AsyncExitStack() as stopping:
            for terms in parse_issuers(self._settings.trusted_issuers):
                keys = IssuerKeys(terms, session, self._settings.answer_timeout_seconds)
                self._trusted[terms.issuer] = _Trusted(terms, keys)
                refreshing = Periodic(
                    keys.refresh, REFRESH_PAUSE_SECONDS, logger, "issuer_refresh_failed"
                )
                stopping.push_async_callback(refreshing.stop)
                refreshing.start()
            yield

    async def authenticate(self, token: str) -> Claims | None:
        """The claims of a token of one of them; None: it names none of them.

        Raises:
            NotAuthenticated: it is not a valid access token.
            Unavailable: its issuer, or the database, does not answer.
        """
        verified = self._verified.get(token)
        if verified is None or not self._is_valid(verified):
            trusted = self._named_by(token)
            if trusted is None:
                return None
            verified = await self._verify(trusted, token)
            self._verified.pop(token, None)
            _remember(self._verified, token, verified, self._settings.token_cache_rows)
        user_id = await self._user_of(verified.subject)
        return Claims(user_id, NO_TOKEN_ID, verified.issued_at, verified.expires_at)

    def _named_by(self, token: str) -> _Trusted | None:
        if len(token) > TOKEN_MAX_BYTES:
            return None
        try:
            _header, payload, _signature = token.split(".")
            issuer = _issuer_decoder.decode(base64url_decode(payload)).iss
        except UNREADABLE:
            return None
        if issuer not in self._trusted and issuer != self._settings.token_issuer:
            self._log_refusal(issuer[:URL_MAX_CHARACTERS], "unknown_issuer")
        return self._trusted.get(issuer)

    async def _verify(self, trusted: _Trusted, token: str) -> _Verified:
        """Raises NotAuthenticated, Unavailable."""
        try:
            return await _verify(trusted, token)
        except REFUSED as error:
            self._log_refusal(trusted.terms.issuer, _reason_of(error))
            # PyJWT looks at the signature first.
            if isinstance(error, jwt.ExpiredSignatureError):
                raise TokenExpired("The token has expired; get another from its issuer.") from None
            raise invalid_token(token) from None

    def _log_refusal(self, issuer: str, reason: str) -> None:
        # The name of an unknown issuer is the client's choice.
        kind = (issuer, reason) if issuer in self._trusted else reason
        if count := self._lines.count(kind):
            logger.info("issuer_token_refused", issuer=issuer, reason=reason, count=count)

    def _is_valid(self, verified: _Verified) -> bool:
        current = self._trusted[verified.subject.issuer].keys.current()
        return verified.keys is current and verified.expires_at > time.time()

    async def _user_of(self, subject: Subject) -> int:
        now = time.monotonic()
        user_id, found_at = self._users.get(subject, (0, float("-inf")))
        if now - found_at < USER_KEPT_SECONDS:
            return user_id
        look_up = self._looked_up.get(subject)
        if look_up is None:
            look_up = self._looked_up[subject] = asyncio.ensure_future(self._find_user(subject))
            look_up.add_done_callback(lambda _done: self._looked_up.pop(subject))
        # Shielded: a client that disconnects does not cancel the others.
        user_id = await asyncio.shield(look_up)
        self._users.pop(subject, None)
        _remember(self._users, subject, (user_id, now), SUBJECTS_REMEMBERED)
        return user_id


async def _verify(trusted: _Trusted, token: str) -> _Verified:
    """Raises Unavailable, REFUSED."""
    header = _header_decoder.decode(base64url_decode(token.partition(".")[0]))
    if header.typ.lower() not in TOKEN_TYPES:
        raise _Unfit("no_access_token")
    key = await trusted.keys.find(header.kid)
    keys = trusted.keys.current()
    terms = trusted.terms
    claims = jwt.decode(
        token,
        key,
        algorithms=terms.algorithms,
        issuer=terms.issuer,
        audience=terms.audience,
        leeway=terms.leeway_seconds,
        options={"require": REQUIRED, "verify_jti": False},
    )
    subject = _subject_of(claims, is_marked="at+jwt" in header.typ.lower())
    # Without it: from before any moment at which the user's tokens were ended.
    issued_at = int(claims.get("iat", 0))
    expires_at = int(claims["exp"]) + terms.leeway_seconds
    return _Verified(Subject(terms.issuer, subject), issued_at, expires_at, keys)


def _reason_of(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"no_{error.claim}"  # of REQUIRED
    if isinstance(error, _Unfit):
        return str(error)
    return REASONS.get(type(error), "malformed")


def _subject_of(claims: Mapping[str, Any], *, is_marked: bool) -> str:
    """The subject of an access token.

    Args:
        claims: verified.
        is_marked: the header says that it is an access token.

    Raises:
        _Unfit: it is not an access token, not for its bearer alone, or of no usable subject.
    """
    typ = claims.get("typ")
    if typ is not None and (not isinstance(typ, str) or typ.lower() != BEARER):
        raise _Unfit("no_access_token")
    if typ is None and not is_marked and any(name in claims for name in OF_ID_TOKENS):
        raise _Unfit("no_access_token")
    if "cnf" in claims:  # RFC 7800: whoever sends it has to prove a key, which we do not check
        raise _Unfit("bound_to_a_key")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_MAX_CHARACTERS:
        raise _Unfit("unusable_sub")
    if "\0" in subject:  # not in a text of PostgreSQL; msgspec has refused halves of characters
        raise _Unfit("unusable_sub")
    return subject


def _remember(known: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    known[key] = value
    if len(known) > most:
        known.popitem(last=False)
