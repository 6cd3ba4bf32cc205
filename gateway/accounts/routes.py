"""The routes of accounts and tokens: parse, call, answer."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import HTTPBearer

from gateway.accounts.accounts import Accounts
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
from gateway.accounts.store import Account
from gateway.rate_limits.by_address import AddressLimit
from gateway.refusals import refusals
from shared.keys import JWKS_MAX_AGE_SECONDS, json_web_key_set
from shared.tokens import Claims, TokenVerifier

router = APIRouter(tags=["Accounts and tokens"])
# Only documents the scheme: the check itself is `signed_in`, the same as every service's.
bearer = HTTPBearer(scheme_name="bearerAuth", bearerFormat="JWT", auto_error=False)


def accounts_of(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.accounts
    return accounts


def verifier_of(request: Request) -> TokenVerifier:
    verifier: TokenVerifier = request.app.state.verifier
    return verifier


AllAccounts = Annotated[Accounts, Depends(accounts_of)]
Verifier = Annotated[TokenVerifier, Depends(verifier_of)]


def signed_in(
    request: Request, verifier: Verifier, _scheme: Annotated[object, Security(bearer)]
) -> Claims:
    """What the caller's access token says.

    Raises:
        NotAuthenticated: there is none, or it does not hold.
    """
    return verifier.caller(request.headers.raw)


def uncached(response: Response) -> None:
    """RFC 6749, 5.1: an answer with tokens in it is kept by nobody on the way."""
    response.headers["Cache-Control"] = "no-store"


async def limited(request: Request, response: Response) -> None:
    """Take one of the tries that an address has.

    Raises:
        TooManyRequests: it has none for now.
    """
    limit: AddressLimit = request.app.state.sign_in_limit
    # No address: a unix socket, whose users share one bucket.
    address = request.client.host if request.client is not None else ""
    response.headers.update(await limit.draw(address))


@router.post(
    "/api/users/",
    status_code=201,
    summary="Register",
    dependencies=[Depends(limited)],
    responses=refusals(400, 429, 503),
)
async def register(body: NewUser, accounts: AllAccounts) -> User:
    """Make an account. A taken name or a weak password is told by field."""
    return _user(await accounts.register(body.username, body.password, body.email or None))


@router.get("/api/users/me/", summary="Read one's own account", responses=refusals(401, 503))
async def me(claims: Annotated[Claims, Depends(signed_in)], accounts: AllAccounts) -> User:
    """The account of the access token."""
    return _user(await accounts.account_of(claims))


@router.post(
    "/api/token/",
    summary="Sign in",
    dependencies=[Depends(uncached), Depends(limited)],
    responses=refusals(400, 401, 429, 503),
)
async def sign_in(body: Credentials, accounts: AllAccounts) -> TokenPair:
    """Exchange name and password for a pair of tokens."""
    return _pair(await accounts.sign_in(body.username, body.password))


@router.post(
    "/api/token/refresh/",
    summary="Get the next pair",
    dependencies=[Depends(uncached)],
    responses=refusals(400, 401, 503),
)
async def refresh(body: Refresh, accounts: AllAccounts) -> TokenPair:
    """Exchange a refresh token for a new pair. It works once.

    If the answer was lost, ask again within 10 seconds: the same pair comes again. A spent token
    that is used later revokes every token of its login.
    """
    return _pair(await accounts.refresh(body.refresh))


@router.post("/api/token/verify/", summary="Check a token", responses=refusals(400, 401, 503))
async def verify(body: Token, accounts: AllAccounts) -> Nothing:
    """`{}` if the access or refresh token holds, else 401."""
    await accounts.verify(body.token)
    return Nothing()


@router.post("/api/token/blacklist/", summary="Sign out", responses=refusals(400, 401, 503))
async def blacklist(body: Refresh, accounts: AllAccounts) -> Nothing:
    """Revoke a refresh token and all that descend from the same login."""
    await accounts.sign_out(body.refresh)
    return Nothing()


@router.get("/.well-known/jwks.json", summary="Public keys")
async def jwks(verifier: Verifier, response: Response) -> JsonWebKeySet:
    """The keys that verify tokens, as a JWK Set. Rotation is by overlap.

    A new key stands here for as long as an answer may be kept, before it signs.
    """
    response.headers["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE_SECONDS}"
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
