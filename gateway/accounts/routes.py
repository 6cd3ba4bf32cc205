"""The routes of accounts and tokens: parse, call, answer."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gateway.accounts.pairs import SignedPair
from gateway.accounts.schemas import (
    Credentials,
    JsonWebKeySet,
    NewUser,
    Nothing,
    Refresh,
    Token,
    TokenPair,
    User,
)
from gateway.accounts.service import WRONG_CREDENTIALS, Accounts
from gateway.accounts.store import Account
from gateway.rate_limits.by_address import bucket_of
from gateway.rate_limits.by_name import NamedLimit
from shared.auth.keys import JWKS_MAX_AGE_SECONDS, json_web_key_set
from shared.auth.tokens import TokenVerifier
from shared.errors import (
    InvalidInput,
    NotAuthenticated,
    Problem,
    TokenNotValid,
    TooManyRequests,
    Unavailable,
)
from shared.web.authentication import AuthenticatedRoute, Caller
from shared.web.openapi import headers, rate_limits, refusals
from shared.web.public_address import PublicAddresses
from shared.web.strict_routes import StrictRoute

CACHED_PUBLICLY = f"public, max-age={JWKS_MAX_AGE_SECONDS}"
LIMITED_BY = rate_limits("sign-in")
TOO_OFTEN = TooManyRequests(headers={"Retry-After": "1", **LIMITED_BY})
TOKENS_LIMITED_BY = rate_limits("tokens")
TOO_MANY_TOKENS = TooManyRequests(headers={"Retry-After": "1", **TOKENS_LIMITED_BY})
NOT_STORED = {"Cache-Control": "no-store"}
MISSING = InvalidInput(errors={"refresh": ["Field required"]})
# Where a client goes on with what it was answered.
SIGN_IN = {
    "sign_in": {
        "operationId": "sign_in",
        "requestBody": {
            "username": "$response.body#/username",
            "password": "$request.body#/password",
        },
    }
}
WITH_REFRESH = {
    operation_id: {
        "operationId": operation_id,
        "requestBody": {"refresh": "$response.body#/refresh"},
    }
    for operation_id in ("refresh", "blacklist")
} | {"verify": {"operationId": "verify", "requestBody": {"token": "$response.body#/access"}}}


async def accounts_of(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.accounts
    return accounts


AllAccounts = Annotated[Accounts, Depends(accounts_of)]


async def uncached(response: Response) -> None:
    """RFC 6749, 5.1: an answer with tokens in it is kept by nobody on the way."""
    response.headers.update(NOT_STORED)


async def client_of(request: Request) -> str:
    """The address, or the network of one subscriber, that a request came from."""
    addresses: PublicAddresses = request.app.state.addresses
    # No address: a unix socket, whose users share one bucket.
    return bucket_of(addresses.client(request.scope))


Client = Annotated[str, Depends(client_of)]


class Limited:
    """Takes one of the tries that an address has; every answer tells how many are left.

    Args:
        limit: its name in the application's state.
    """

    def __init__(self, limit: str) -> None:
        self._limit = limit

    async def __call__(
        self, request: Request, response: Response, client: Client
    ) -> AsyncIterator[None]:
        """Raises TooManyRequests: it has none for now."""
        limit: NamedLimit = getattr(request.app.state, self._limit)
        tries_left = await limit.draw(client)
        response.headers.update(tries_left)
        try:
            yield
        except Problem as problem:
            # Where another limit refuses, its headers count.
            problem.headers = {**tries_left, **problem.headers}
            raise

    async def refuse_early(self, request: Request) -> None:
        """Raises TooManyRequests: its address is known to have none; the body is not read."""
        limit: NamedLimit = getattr(request.app.state, self._limit)
        limit.refuse_if_known(await client_of(request))


class LimitedRoute(StrictRoute):
    """Refuses before anything else whoever is known to have no tries left.

    FastAPI itself reads and parses a body first, and whoever hammers would pay for none of it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        called = [each.call for each in self.dependant.dependencies]
        limits = [call for call in called if isinstance(call, Limited)]

        async def answer_within_limits(request: Request) -> Response:
            """Raises TooManyRequests."""
            for limit in limits:
                await limit.refuse_early(request)
            return await answer(request)

        return answer_within_limits


sign_in_limited = Depends(Limited("sign_in_limit"))
tokens_limited = Depends(Limited("token_limit"))
router = APIRouter(tags=["Accounts and tokens"], route_class=LimitedRoute)


@router.post(
    "/api/users/",
    status_code=201,
    summary="Register",
    dependencies=[sign_in_limited],
    response_description="The new account",
    responses=refusals(
        InvalidInput(errors={"username": ["This username is taken."]}),
        TOO_OFTEN,
        Unavailable,
        sometimes=LIMITED_BY,
    )
    | {201: {"headers": headers({}, LIMITED_BY), "links": SIGN_IN}},
)
async def register(body: NewUser, accounts: AllAccounts, client: Client) -> User:
    """Make an account. A taken name or a weak password is told by field."""
    return _user(await accounts.register(body.username, body.password, body.email or None, client))


signed_in_router = APIRouter(tags=["Accounts and tokens"], route_class=AuthenticatedRoute)


@signed_in_router.get(
    "/api/users/me/",
    summary="Read one's own account",
    response_description="The account",
    responses=refusals(Unavailable),
)
async def me(caller: Caller, accounts: AllAccounts) -> User:
    """The account of the access token."""
    return _user(await accounts.account_of(caller))


@router.post(
    "/api/token/",
    summary="Sign in",
    dependencies=[Depends(uncached), sign_in_limited],
    response_description="The first pair of tokens",
    responses=refusals(
        InvalidInput(errors={"password": ["Field required"]}),
        NotAuthenticated(WRONG_CREDENTIALS),
        TOO_OFTEN,
        Unavailable,
        sometimes=LIMITED_BY,
    )
    | {200: {"headers": headers(NOT_STORED, LIMITED_BY), "links": WITH_REFRESH}},
)
async def sign_in(body: Credentials, accounts: AllAccounts, client: Client) -> TokenPair:
    """Exchange name and password for a pair of tokens.

    Wrong passwords of one account are limited too, apart for each address from which it has signed
    in before.
    """
    return _pair(await accounts.sign_in(body.username, body.password, client))


@router.post(
    "/api/token/refresh/",
    summary="Get the next pair",
    dependencies=[Depends(uncached), tokens_limited],
    response_description="The next pair of tokens",
    responses=refusals(
        MISSING, TokenNotValid, TOO_MANY_TOKENS, Unavailable, sometimes=TOKENS_LIMITED_BY
    )
    | {200: {"headers": headers(NOT_STORED, TOKENS_LIMITED_BY)}},
)
async def refresh(body: Refresh, accounts: AllAccounts) -> TokenPair:
    """Exchange a refresh token for a new pair. It works once.

    If the answer was lost, ask again within 10 seconds: the same pair comes again. A spent token
    that is used later revokes every refresh token of its sign-in.
    """
    return _pair(await accounts.refresh(body.refresh))


@router.post(
    "/api/token/verify/",
    summary="Check a token",
    dependencies=[tokens_limited],
    response_description="It holds",
    responses=refusals(
        InvalidInput(errors={"token": ["Field required"]}),
        TokenNotValid,
        TOO_MANY_TOKENS,
        Unavailable,
        sometimes=TOKENS_LIMITED_BY,
    )
    | {200: {"headers": headers({}, TOKENS_LIMITED_BY)}},
)
async def verify(body: Token, accounts: AllAccounts) -> Nothing:
    """`{}` if the access or refresh token holds, else 401."""
    await accounts.verify(body.token)
    return Nothing()


@router.post(
    "/api/token/blacklist/",
    summary="Sign out",
    dependencies=[tokens_limited],
    response_description="It is done",
    responses=refusals(
        MISSING, TokenNotValid, TOO_MANY_TOKENS, Unavailable, sometimes=TOKENS_LIMITED_BY
    )
    | {200: {"headers": headers({}, TOKENS_LIMITED_BY)}},
)
async def blacklist(body: Refresh, accounts: AllAccounts) -> Nothing:
    """Revoke every refresh token of its sign-in. Access tokens live on until they expire."""
    await accounts.sign_out(body.refresh)
    return Nothing()


@router.get(
    "/.well-known/jwks.json",
    summary="Public keys",
    response_description="The JWK Set",
    responses={200: {"headers": headers({"Cache-Control": CACHED_PUBLICLY})}},
)
async def jwks(request: Request, response: Response) -> JsonWebKeySet:
    """The keys that verify tokens, as a JWK Set. Rotation is by overlap.

    A new key stands here for as long as an answer may be kept, before it signs.
    """
    response.headers["Cache-Control"] = CACHED_PUBLICLY
    verifier: TokenVerifier = request.app.state.verifier
    return JsonWebKeySet.model_validate(json_web_key_set(dict(verifier.public_keys())))


def _user(account: Account) -> User:
    return User(
        id=account.id,
        username=account.username,
        email=account.email,
        created_at=account.created_at,
    )


def _pair(pair: SignedPair) -> TokenPair:
    return TokenPair(access=pair.access, refresh=pair.refresh)
