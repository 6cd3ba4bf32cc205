"""Whose request it is, by its token: one of ours, or one of a trusted issuer."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from shared.auth.issuer_tokens import FindUser, TrustedIssuers
from shared.auth.tokens import Claims, TokenVerifier, authorization_of, bearer_token
from shared.config.settings import Settings
from shared.errors import NotAuthenticated


class Authenticator:
    """Of one event loop. Tokens of ours need no more than their verifier.

    Args:
        settings: which issuers are trusted.
        verifier: of our own tokens.
        find_user: the user of an issuer's subject.
    """

    def __init__(self, settings: Settings, verifier: TokenVerifier, find_user: FindUser) -> None:
        self._verifier = verifier
        self._issuers = TrustedIssuers(settings, find_user) if settings.trusted_issuers else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetches the issuers' keys until the block ends."""
        if self._issuers is None:
            yield
        else:
            async with self._issuers.running():
                yield

    async def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Claims:
        """The claims of the token in a request's headers, as ASGI passes them.

        Raises:
            NotAuthenticated: no token, an invalid one, or several.
            Unavailable: a trusted issuer, or the database, does not answer.
        """
        authorization = authorization_of(headers)
        if self._issuers is None:
            return self._verifier.authenticate(authorization)
        token = bearer_token(authorization)
        claims = self._verifier.remembered(token) or await self._issuers.authenticate(token)
        if claims is None:
            return self._verifier.verify_and_remember(token)
        if self._verifier.is_void(claims.user_id, claims.issued_at):
            raise NotAuthenticated("The token was ended.", token_was_bad=True)
        return claims
