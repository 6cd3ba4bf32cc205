"""Whose request it is, by its token, one of ours or of a trusted issuer, or by its API key."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from shared.auth.caller import KEY_PREFIX, Caller
from shared.auth.issuer_tokens import FindUser, TrustedIssuers
from shared.auth.live_credentials import LiveCredentials
from shared.auth.tokens import TokenVerifier, authorization_of, bearer_token
from shared.config.settings import Settings
from shared.errors import TokenNotValid


class Authenticator:
    """Of one event loop. Tokens of ours need no more than their verifier.

    Args:
        settings: which issuers are trusted.
        verifier: of our own tokens.
        find_user: the user of an issuer's subject.
        credentials: all live keys, and what ended tokens.
    """

    def __init__(
        self,
        settings: Settings,
        verifier: TokenVerifier,
        find_user: FindUser,
        credentials: LiveCredentials,
    ) -> None:
        self._verifier = verifier
        self._credentials = credentials
        self._issuers = TrustedIssuers(settings, find_user) if settings.trusted_issuers else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetches the issuers' keys, and reads what was revoked, until the block ends."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._credentials.running())
            if self._issuers is not None:
                await stack.enter_async_context(self._issuers.running())
            yield

    async def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Whose token or key a request's headers have, as ASGI passes them.

        Raises:
            NotAuthenticated: no token or key, an invalid one, or several.
            Unavailable: a trusted issuer, or the database, does not answer.
        """
        token = bearer_token(authorization_of(headers))
        if token.startswith(KEY_PREFIX):
            return await self._credentials.caller(token)
        claims = self._verifier.remembered(token)
        if claims is None and self._issuers is not None:
            claims = await self._issuers.authenticate(token)
            if claims is not None and self._verifier.is_void(claims.user_id, claims.issued_at):
                raise TokenNotValid
        return Caller((claims or self._verifier.verify_and_remember(token)).user_id)
