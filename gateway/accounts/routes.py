"""The routes of accounts and tokens: parse, call, respond."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gateway.accounts import schemas
from gateway.accounts.pairs import SignedPair
from gateway.accounts.schemas import (
    AccountCreate,
    AccountDelete,
    AccountUpdate,
    Empty,
    JsonWebKeySet,
    PasswordUpdate,
    TokenCreate,
    TokenPair,
    TokenRefresh,
    TokenVerify,
)
from gateway.accounts.service import IN_USE, WRONG_PASSWORD, Accounts
from gateway.accounts.store import Account
from gateway.rate_limits.address_bucket import bucket_of
from gateway.rate_limits.by_name import NamedLimit
from shared.auth.keys import JWKS_MAX_AGE_SECONDS, json_web_key_set
from shared.auth.tokens import TokenVerifier
from shared.errors import (
    REQUIRED,
    AccountLocked,
    Conflict,
    InvalidCredentials,
    InvalidInput,
    Problem,
    RegistrationClosed,
    TokenExpired,
    TokenMalformed,
    TokenNotValid,
    TooManyRequests,
    Unavailable,
)
from shared.web.authentication import AuthenticatedRoute, OwnToken, Reader
from shared.web.openapi import Responses, error_responses, headers, rate_limits
from shared.web.public_address import PublicAddresses
from shared.web.strict_routes import StrictRoute

CACHED_PUBLICLY = f"public, max-age={JWKS_MAX_AGE_SECONDS}"
LIMITED_BY = rate_limits("sign-in")
TOO_OFTEN = TooManyRequests(headers={"Retry-After": "1", **LIMITED_BY})
TOKENS_LIMITED_BY = rate_limits("tokens")
TOO_MANY_TOKENS = TooManyRequests(headers={"Retry-After": "1", **TOKENS_LIMITED_BY})
NOT_STORED = {"Cache-Control": "no-store"}


async def accounts_of(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.accounts
    return accounts


AllAccounts = Annotated[Accounts, Depends(accounts_of)]


async def uncached(response: Response) -> None:
    """RFC 6749, 5.1: a response with tokens is not cached."""
    response.headers.update(NOT_STORED)


async def client_of(request: Request) -> str:
    """The client's address, or the network of one subscriber."""
    addresses: PublicAddresses = request.app.state.addresses
    # Without an address: a unix socket, whose clients share one bucket.
    return bucket_of(addresses.client(request.scope))


Client = Annotated[str, Depends(client_of)]


class Limited:
    """Counts a request of an address; every response has the `RateLimit` headers.

    Args:
        limit: its name in the application's state.
    """

    def __init__(self, limit: str) -> None:
        self._limit = limit

    async def __call__(
        self, request: Request, response: Response, client: Client
    ) -> AsyncIterator[None]:
        """Raises TooManyRequests."""
        limit: NamedLimit = getattr(request.app.state, self._limit)
        limit_headers = await limit.draw(client)
        response.headers.update(limit_headers)
        try:
            yield
        except Problem as problem:
            # The headers of another limit that was exceeded have precedence.
            problem.headers = {**limit_headers, **problem.headers}
            raise

    async def check_early(self, request: Request) -> None:
        """Raises TooManyRequests: the limit of this address is known to be exceeded."""
        limit: NamedLimit = getattr(request.app.state, self._limit)
        limit.raise_if_known_empty(await client_of(request))


class LimitedRoute(StrictRoute):
    """Checks exceeded limits before FastAPI reads and parses the body: a flood costs little."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        respond = super().get_route_handler()
        called = [each.call for each in self.dependant.dependencies]
        limits = [call for call in called if isinstance(call, Limited)]

        async def check_limits_first(request: Request) -> Response:
            """Raises TooManyRequests."""
            for limit in limits:
                await limit.check_early(request)
            return await respond(request)

        return check_limits_first


sign_in_limited = Depends(Limited("sign_in_limit"))
tokens_limited = Depends(Limited("token_limit"))
router = APIRouter(route_class=LimitedRoute)


class SignedInRoute(AuthenticatedRoute, LimitedRoute):
    """Checks the token, then the limits, before the body is read."""


async def registration_open(accounts: AllAccounts) -> None:
    accounts.check_registration_open()


def limited_problems(*problems: Problem | type[Problem]) -> Responses:
    """Of a route that is limited as those with tokens are."""
    return error_responses(*problems, TOO_MANY_TOKENS, Unavailable, sometimes=TOKENS_LIMITED_BY)


def _token_responses(field: str, always: Mapping[str, str] = MappingProxyType({})) -> Responses:
    """The responses of a route that takes a token in `field`; `always`: headers of a 200."""
    problems = limited_problems(
        InvalidInput(errors={field: [REQUIRED]}),
        TokenExpired,
        TokenMalformed,
        TokenNotValid,
    )
    return problems | {200: {"headers": headers(always, TOKENS_LIMITED_BY)}}


@router.post(
    "/api/users/",
    tags=["Accounts"],
    operation_id="accounts.create",
    status_code=201,
    response_model=schemas.Account,
    summary="Register",
    dependencies=[sign_in_limited, Depends(registration_open)],
    response_description="The new account",
    responses=error_responses(
        InvalidInput(errors={"username": ["This username is taken."]}),
        RegistrationClosed,
        TOO_OFTEN,
        Unavailable,
        sometimes=LIMITED_BY,
    )
    | {201: {"headers": headers({}, LIMITED_BY)}},
)
async def register(body: AccountCreate, accounts: AllAccounts, client: Client) -> Account:
    """Create an account. A username that is taken or a weak password is an error of its field.

    The operator may have closed registration (403).
    """
    return await accounts.register(body.username, body.password, body.email or None, client)


signed_in_router = APIRouter(tags=["Accounts"], route_class=SignedInRoute)


@signed_in_router.get(
    "/api/users/me/",
    operation_id="accounts.read",
    response_model=schemas.Account,
    summary="Read your account",
    response_description="The account",
    responses=error_responses(Unavailable),
)
async def me(caller: Reader, accounts: AllAccounts) -> Account:
    """The account of the access token, or the owner of the key."""
    return await accounts.account_of(caller.user_id)


def _own_account_responses(*more: Problem) -> Responses:
    """The responses of a route that takes the account's password."""
    problems = error_responses(
        InvalidInput(errors=WRONG_PASSWORD), *more, TOO_OFTEN, Unavailable, sometimes=LIMITED_BY
    )
    return problems | {200: {"headers": headers({}, LIMITED_BY)}}


@signed_in_router.patch(
    "/api/users/me/",
    operation_id="accounts.update",
    response_model=schemas.Account,
    summary="Change your e-mail address",
    dependencies=[sign_in_limited],
    response_description="The changed account",
    responses=_own_account_responses(),
)
async def change_email(
    caller: OwnToken, body: AccountUpdate, accounts: AllAccounts, client: Client
) -> Account:
    """Needs the account's password. Wrong ones count as those of sign-ins do."""
    return await accounts.change_email(
        caller.user_id, body.current_password, body.email or None, client
    )


@signed_in_router.post(
    "/api/users/me/password/",
    operation_id="accounts.change_password",
    summary="Change your password",
    dependencies=[sign_in_limited],
    response_description="Changed; sign in again",
    responses=_own_account_responses(),
)
async def change_password(
    caller: OwnToken, body: PasswordUpdate, accounts: AllAccounts, client: Client
) -> Empty:
    """End all sign-ins of the account: refresh tokens at once, access tokens within a second.

    Wrong passwords count as those of sign-ins do.
    """
    await accounts.change_password(caller.user_id, body.current_password, body.new_password, client)
    return Empty()


@signed_in_router.post(
    "/api/users/me/delete/",
    operation_id="accounts.delete",
    summary="Delete your account",
    dependencies=[sign_in_limited],
    response_description="Deleted",
    responses=_own_account_responses(Conflict(IN_USE)),
)
async def delete_account(
    caller: OwnToken, body: AccountDelete, accounts: AllAccounts, client: Client
) -> Empty:
    """Erase name, e-mail and password, and end all sign-ins. The name is free again.

    Only for an account that has no purchase and no event (409). A POST, because not every proxy
    forwards the body of a DELETE.
    """
    await accounts.delete(caller.user_id, body.current_password, client)
    return Empty()


@router.post(
    "/api/token/",
    tags=["Tokens"],
    operation_id="tokens.create",
    response_model=TokenPair,
    summary="Sign in",
    dependencies=[Depends(uncached), sign_in_limited],
    response_description="The first pair of tokens",
    responses=error_responses(
        InvalidInput(errors={"password": [REQUIRED]}),
        InvalidCredentials,
        AccountLocked,
        TOO_OFTEN,
        Unavailable,
        sometimes=LIMITED_BY,
    )
    | {200: {"headers": headers(NOT_STORED, LIMITED_BY)}},
)
async def sign_in(body: TokenCreate, accounts: AllAccounts, client: Client) -> SignedPair:
    """Exchange username and password for a pair of tokens.

    Wrong passwords of one account are limited too, separately for each address from which it has
    signed in before. With the right password of an account that the operator has locked: 403.
    """
    return await accounts.sign_in(body.username, body.password, client)


@router.post(
    "/api/token/refresh/",
    tags=["Tokens"],
    operation_id="tokens.refresh",
    response_model=TokenPair,
    summary="Get the next pair",
    dependencies=[Depends(uncached), tokens_limited],
    response_description="The next pair of tokens",
    responses=_token_responses("refresh", NOT_STORED),
)
async def refresh(body: TokenRefresh, accounts: AllAccounts) -> SignedPair:
    """Exchange a refresh token for a new pair. It works once.

    If the response was lost, repeat the request within a minute: the response is the same pair. A
    used token that is sent later revokes every refresh token of its sign-in.
    """
    return await accounts.refresh(body.refresh)


@router.post(
    "/api/token/verify/",
    tags=["Tokens"],
    operation_id="tokens.verify",
    summary="Check a token",
    dependencies=[tokens_limited],
    response_description="The token is valid",
    responses=_token_responses("token"),
)
async def verify(body: TokenVerify, accounts: AllAccounts) -> Empty:
    """`{}` if the access or refresh token is valid, else 401."""
    await accounts.verify(body.token)
    return Empty()


@router.post(
    "/api/token/blacklist/",
    tags=["Tokens"],
    operation_id="tokens.revoke",
    summary="Sign out",
    dependencies=[tokens_limited],
    response_description="Signed out",
    responses=_token_responses("refresh"),
)
async def blacklist(body: TokenRefresh, accounts: AllAccounts) -> Empty:
    """Revoke every refresh token of its sign-in. Access tokens stay valid until they expire."""
    await accounts.sign_out(body.refresh)
    return Empty()


@router.get(
    "/.well-known/jwks.json",
    tags=["Tokens"],
    operation_id="tokens.read_jwks",
    summary="Public keys",
    response_description="The JWK Set",
    responses={200: {"headers": headers({"Cache-Control": CACHED_PUBLICLY})}},
)
async def jwks(request: Request, response: Response) -> JsonWebKeySet:
    """The keys that verify tokens, as a JWK Set. Rotation is by overlap.

    A new key is listed here for as long as a response may be cached, before it signs.
    """
    response.headers["Cache-Control"] = CACHED_PUBLICLY
    verifier: TokenVerifier = request.app.state.verifier
    return JsonWebKeySet.model_validate(json_web_key_set(dict(verifier.public_keys())))
