"""The use cases of accounts: register, change, delete; sign in, refresh, verify, sign out."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Engine

from gateway.accounts import store
from gateway.accounts.pairs import PairSigner, SignedPair
from gateway.accounts.password_rules import weaknesses
from gateway.accounts.passwords import PasswordCheck, Passwords
from gateway.accounts.store import Account, Login
from gateway.rate_limits.by_name import NamedLimit
from gateway.rate_limits.token_bucket import Rate
from gateway.rate_limits.wrong_passwords import AccountLimit, Attempt
from shared.auth.tokens import Claims, TokenVerifier
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.errors import (
    AccountLocked,
    Conflict,
    InvalidCredentials,
    InvalidInput,
    RegistrationClosed,
    TokenNotValid,
    Unavailable,
)

T = TypeVar("T")

# Account requests that may wait for a thread: about a second of work.
ACCOUNT_WAITING_MAX = 1_000
WRONG_PASSWORD = {"current_password": ["This is not the password of this account."]}
NO_ACCOUNT = "The account of this token does not exist."
SIGNED_OUT = "This refresh token was used or ended before; sign in again."
IN_USE = "This account has purchases or events, so it is kept; ask the operator to erase its name."
# Requests with refresh tokens of one user, from all addresses: many devices stay below.
TOKENS_OF_USER = Rate(burst=60, per_second=1.0)
UNLIMITED = Rate(burst=0, per_second=0.0)


def token_rate(sign_ins: Rate) -> Rate:
    """Of one address: refreshes, checks and sign-outs together.

    They cost no hashing, and many users may share an address: a burst of five times that of
    sign-ins, and a rate of twenty times.
    """
    return Rate(5 * sign_ins.burst, 20 * sign_ins.per_second)


class Accounts:
    """Every call may raise Unavailable: too many wait, or the database is unavailable.

    Sign-ins with registrations and requests with tokens have separate threads, so that neither
    starves the other. Within each, addresses or users take turns.
    """

    def __init__(self, settings: Settings, engine: Engine, verifier: TokenVerifier) -> None:
        self._engine = engine
        self._verifier = verifier
        self._registration_open = settings.registration_open
        self._passwords = Passwords(settings)
        self._signer = PairSigner(settings)
        self._threads, self._token_threads = (
            BoundedExecutor(
                name,
                threads=settings.account_threads,
                waiting_max=ACCOUNT_WAITING_MAX,
                timeout_seconds=settings.answer_timeout_seconds,
            )
            for name in ("accounts", "tokens")
        )
        self._account_limit = AccountLimit(settings)
        sign_ins = Rate(settings.sign_in_rate_burst, settings.sign_in_rate_per_second)
        self._user_limit = NamedLimit(
            "tokens-user", UNLIMITED if sign_ins.is_unlimited else TOKENS_OF_USER, settings
        )
        self._lifetime = timedelta(seconds=settings.refresh_token_seconds)
        self._retry_window = timedelta(seconds=settings.refresh_retry_seconds)

    def check_registration_open(self) -> None:
        """Raises RegistrationClosed."""
        if not self._registration_open:
            raise RegistrationClosed

    async def register(
        self, username: str, password: str, email: str | None, address: str
    ) -> Account:
        """Create an account.

        Args:
            username: in its stored form.
            password: not a weak one.
            email: optional.
            address: of the client, or its network.

        Raises:
            InvalidInput: the name is taken.
        """
        password_hash = await self._passwords.hash(password, address)
        account = await self._threads.run_for(
            address, store.add_account, self._engine, username, email, password_hash
        )
        if account is None:
            raise InvalidInput(errors={"username": ["This username is taken."]})
        await self._account_limit.registered(account.id, address)
        return account

    async def account_of(self, user_id: int) -> Account:
        """The account of a user.

        Raises:
            TokenNotValid: it does not exist any more.
        """
        account = await self._token_threads.run_for(
            str(user_id), store.find_account, self._engine, user_id
        )
        if account is None:
            raise TokenNotValid(NO_ACCOUNT)
        return account

    async def change_password(
        self, user_id: int, current_password: str, new_password: str, address: str
    ) -> None:
        """Store the new password, and end all sign-ins of the account.

        Args:
            user_id: whose token it is.
            current_password: as it was typed.
            new_password: as it was typed.
            address: of the client, or its network.

        Raises:
            InvalidInput: the current password is wrong, or the new one is weak.
            TokenNotValid: the account does not exist any more.
            TooManyRequests: too many wrong passwords were tried for this account.
        """
        login = await self._login_of(user_id, address)
        found = weaknesses(new_password, login.username)
        if found:
            raise InvalidInput(errors={"new_password": [" ".join(found)]})
        await self._check_password(login, current_password, address)
        password_hash = await self._passwords.hash(new_password, address)
        await self._change(
            *(login, current_password, address),
            lambda login: store.change_password(self._engine, login, password_hash) or None,
        )

    async def change_email(
        self, user_id: int, current_password: str, email: str | None, address: str
    ) -> Account:
        """Store another e-mail address, or none. Raises as `change_password` does."""
        login = await self._login_of(user_id, address)
        await self._check_password(login, current_password, address)
        return await self._change(
            *(login, current_password, address),
            lambda login: store.change_email(self._engine, login, email),
        )

    async def delete(self, user_id: int, current_password: str, address: str) -> None:
        """Erase the account, and end all of its sign-ins.

        Raises:
            Conflict: it has purchases or events.
            InvalidInput, TokenNotValid, TooManyRequests: as `change_password` does.
        """
        login = await self._login_of(user_id, address)
        await self._check_password(login, current_password, address)
        if not await self._change(
            *(login, current_password, address), lambda login: store.erase(self._engine, login)
        ):
            raise Conflict(IN_USE)

    async def sign_in(self, username: str, password: str, address: str) -> SignedPair:
        """The first pair of a new family.

        Args:
            username: normalised.
            password: as it was typed.
            address: of the client, or its network.

        Raises:
            InvalidCredentials: an unknown name or a wrong password.
            AccountLocked: the password is right.
            TooManyRequests: too many wrong passwords were tried for this name.
        """
        login = await self._threads.run_for(address, store.find_login, self._engine, username)
        user_id = login.user_id if login is not None else None
        attempt = await self._account_limit.begin(username, user_id, address)
        async with self._given_back_unless_tried(attempt):
            return await self._sign_in(login, password, address, attempt)

    async def _sign_in(
        self, login: Login | None, password: str, address: str, attempt: Attempt
    ) -> SignedPair:
        stored_hash = login.password_hash if login is not None else None
        check = await self._passwords.check(stored_hash, password, address)
        if login is None or not check.right:
            raise InvalidCredentials
        if login.locked_at is not None:
            await self._account_limit.give_back(attempt)
            raise AccountLocked
        if check.replacement is not None and not await self._threads.run_for(
            address, store.replace_password_hash, self._engine, login, check.replacement
        ):
            # Perhaps by another sign-in at this moment: it is checked as it is now.
            changed = await self._threads.run_for(
                address, store.find_login_of, self._engine, login.user_id
            )
            return await self._sign_in(changed, password, address, attempt)
        pair = await self._threads.run_for(address, self._start_family, login, check)
        await self._account_limit.succeeded(attempt)
        return pair

    async def refresh(self, refresh_token: str) -> SignedPair:
        """The next pair for a refresh token, which is then spent.

        Raises:
            NotAuthenticated: the token is invalid, was spent before, or is revoked.
            TooManyRequests: of its user.
        """
        claims = await self._refresh_claims(refresh_token)
        return await self._token_threads.run_for(str(claims.user_id), self._spend, claims)

    async def verify(self, token: str) -> None:
        """Check a token of either type.

        Raises:
            NotAuthenticated: it is invalid, spent, or revoked.
            TooManyRequests: of its user, with refresh tokens.
        """
        claims = self._verifier.verify(token, "access", "refresh")
        if claims.token_type == "access":
            return
        await self._user_limit.draw(str(claims.user_id))
        if not await self._token_threads.run_for(
            str(claims.user_id), store.is_usable, self._engine, claims.token_id
        ):
            raise TokenNotValid(SIGNED_OUT)

    async def sign_out(self, refresh_token: str) -> None:
        """Revoke the token's family.

        Raises:
            NotAuthenticated: the token is invalid, or its family was revoked before.
            TooManyRequests: of its user.
        """
        claims = await self._refresh_claims(refresh_token)
        if not await self._token_threads.run_for(
            str(claims.user_id), store.revoke, self._engine, claims.token_id
        ):
            raise TokenNotValid(SIGNED_OUT)

    def close(self) -> None:
        self._passwords.close()
        self._threads.close()
        self._token_threads.close()
        self._account_limit.close()
        self._user_limit.close()

    @asynccontextmanager
    async def _given_back_unless_tried(self, attempt: Attempt) -> AsyncIterator[None]:
        try:
            yield
        except Unavailable:
            await self._account_limit.give_back(attempt)
            raise

    async def _login_of(self, user_id: int, address: str) -> Login:
        login = await self._threads.run_for(address, store.find_login_of, self._engine, user_id)
        if login is None:
            raise TokenNotValid(NO_ACCOUNT)
        return login

    async def _check_password(self, login: Login, password: str, address: str) -> None:
        attempt = await self._account_limit.begin(login.username, login.user_id, address)
        async with self._given_back_unless_tried(attempt):
            check = await self._passwords.check(login.password_hash, password, address)
        if not check.right:
            raise InvalidInput(errors=WRONG_PASSWORD)
        await self._account_limit.succeeded(attempt)

    async def _change(
        self, login: Login, password: str, address: str, change: Callable[[Login], T | None]
    ) -> T:
        """Change the account, for which the password was checked.

        `change` returns None if the stored hash is another one meanwhile: perhaps of this password,
        by a sign-in that renewed it. So it is checked as it is now.
        """
        while (changed := await self._threads.run_for(address, change, login)) is None:
            login = await self._login_of(login.user_id, address)
            await self._check_password(login, password, address)
        return changed

    async def _refresh_claims(self, token: str) -> Claims:
        """Verifies the signature first, so that nobody draws from another user's bucket."""
        claims = self._verifier.verify(token, "refresh")
        await self._user_limit.draw(str(claims.user_id))
        return claims

    def _start_family(self, login: Login, check: PasswordCheck) -> SignedPair:
        """The first pair, if the password that was checked is still the account's."""
        password_hash = check.replacement or login.password_hash
        assert password_hash is not None, "it was compared with the password"
        first = store.start_family(self._engine, login.user_id, password_hash, self._lifetime)
        if first is None:
            raise InvalidCredentials
        return self._signer.sign(first)

    def _spend(self, claims: Claims) -> SignedPair:
        successor = store.spend(
            self._engine,
            claims.token_id,
            lifetime=self._lifetime,
            retry_window=self._retry_window,
        )
        if successor is None:
            raise TokenNotValid(SIGNED_OUT)
        return self._signer.sign(successor)
