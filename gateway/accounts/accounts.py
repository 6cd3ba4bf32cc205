"""What one can do with an account: register, sign in, refresh, verify, sign out."""

from datetime import timedelta

from sqlalchemy import Engine

from gateway.accounts import store
from gateway.accounts.pairs import PairSigner, SignedPair
from gateway.accounts.passwords import Passwords
from gateway.accounts.store import Account, IssuedToken
from shared.bounded_executor import BoundedExecutor
from shared.errors import InvalidInput, NotAuthenticated, TokenNotValid
from shared.settings import Settings
from shared.tokens import Claims, TokenType, TokenVerifier

WRONG_CREDENTIALS = "No account has this username and password."


class Accounts:
    """Every call may raise Unavailable: too many are waiting, or the database is away."""

    def __init__(self, settings: Settings, engine: Engine, verifier: TokenVerifier) -> None:
        self._engine = engine
        self._verifier = verifier
        self._passwords = Passwords(settings)
        self._signer = PairSigner(settings)
        self._threads = BoundedExecutor(
            "accounts",
            threads=settings.account_threads,
            waiting_max=settings.account_waiting_max,
            timeout_seconds=settings.answer_timeout_seconds,
        )
        self._lifetime = timedelta(seconds=settings.refresh_token_seconds)
        self._retry_window = timedelta(seconds=settings.refresh_retry_seconds)

    async def register(self, username: str, password: str, email: str | None) -> Account:
        """Make an account.

        Raises:
            InvalidInput: the name is taken.
        """
        password_hash = await self._passwords.hash(password)
        account = await self._threads.run(
            store.add_account, self._engine, username, email, password_hash
        )
        if account is None:
            raise InvalidInput(errors={"username": ["This username is taken."]})
        return account

    async def account_of(self, claims: Claims) -> Account:
        """The account of a checked token.

        Raises:
            NotAuthenticated: it exists no more.
        """
        account = await self._threads.run(store.find_account, self._engine, claims.user_id)
        if account is None:
            raise NotAuthenticated("The account of this token does not exist.", token_was_bad=True)
        return account

    async def sign_in(self, username: str, password: str) -> SignedPair:
        """The first pair of a new family.

        Raises:
            NotAuthenticated: no such name, or another password; nobody can tell which.
        """
        login = await self._threads.run(store.find_login, self._engine, username)
        stored_hash = login.password_hash if login is not None else None
        check = await self._passwords.check(stored_hash, password)
        if login is None or not check.right:
            raise NotAuthenticated(WRONG_CREDENTIALS)
        if check.replacement is not None:
            await self._threads.run(
                store.replace_password_hash, self._engine, login, check.replacement
            )
        return await self._threads.run(self._start_family, login.user_id)

    async def refresh(self, refresh_token: str) -> SignedPair:
        """The next pair for a refresh token, which is then spent.

        Raises:
            TokenNotValid: the token does not hold, was spent before, or is revoked.
        """
        claims = self._claims(refresh_token, "refresh")
        return await self._threads.run(self._spend, claims)

    async def verify(self, token: str) -> None:
        """Nothing if a token of either type holds.

        Raises:
            TokenNotValid: it does not.
        """
        try:
            self._claims(token, "access")
        except TokenNotValid:
            claims = self._claims(token, "refresh")
            if not await self._threads.run(store.is_usable, self._engine, claims.token_id):
                raise TokenNotValid from None

    async def sign_out(self, refresh_token: str) -> None:
        """Let no token of this one's family be refreshed again.

        Raises:
            TokenNotValid: the token does not hold, or its family was revoked before.
        """
        claims = self._claims(refresh_token, "refresh")
        if not await self._threads.run(store.revoke, self._engine, claims.token_id):
            raise TokenNotValid

    def close(self) -> None:
        self._passwords.close()
        self._threads.close()

    def _claims(self, token: str, token_type: TokenType) -> Claims:
        try:
            return self._verifier.verify(token, token_type)
        except NotAuthenticated:
            raise TokenNotValid from None

    def _start_family(self, user_id: int) -> SignedPair:
        return self._sign(store.start_family(self._engine, user_id, self._lifetime))

    def _spend(self, claims: Claims) -> SignedPair:
        successor = store.spend(
            self._engine,
            claims.token_id,
            lifetime=self._lifetime,
            retry_window=self._retry_window,
        )
        if successor is None:
            raise TokenNotValid
        return self._sign(successor)

    def _sign(self, token: IssuedToken) -> SignedPair:
        return self._signer.sign(token.user_id, token.id, token.issued_at)
