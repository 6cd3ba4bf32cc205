"""The session of a page: sign in, renew, sign out. Only these routes read a cookie.

An access token goes to the page, which keeps it in memory; a refresh token only into the cookie.
No part of the API, so the OpenAPI document does not have them.
"""

import re
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response

from gateway.accounts.pairs import SignedPair
from gateway.accounts.routes import (
    NOT_STORED,
    AllAccounts,
    Client,
    LimitedRoute,
    sign_in_limited,
    tokens_limited,
)
from gateway.accounts.schemas import TokenCreate
from gateway.session.schemas import Session, SessionUser
from shared.config.settings import Settings
from shared.errors import CrossSiteRequest, NotAuthenticated, on_problem
from shared.web.edge import COOKIES
from shared.web.public_address import PublicAddresses

PATH = "/session/"
COOKIE = "eventify_refresh"
# Its value as written: a token needs no quotes.
OUR_COOKIE = re.compile(rf"(?:^|;)\s*{COOKIE}\s*=([^;]*)")


class OwnPagesRoute(LimitedRoute):
    """For pages of this origin alone: a browser always sends `Origin` with these methods."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        respond = super().get_route_handler()

        async def check_origin_first(request: Request) -> Response:
            """Raises CrossSiteRequest."""
            addresses: PublicAddresses = request.app.state.addresses
            with on_problem(add=NOT_STORED):
                if not addresses.of(request.scope).has_origin(request.headers.get("origin", "")):
                    raise CrossSiteRequest
                response = await respond(request)
            response.headers.update(NOT_STORED)
            return response

        return check_origin_first


class _CookieRoute(LimitedRoute):
    """Without the cookie: 204 at no cost, which no browser reports as an error."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        respond = super().get_route_handler()

        async def check_cookie_first(request: Request) -> Response:
            found = OUR_COOKIE.findall(b";".join(request.scope[COOKIES]).decode("latin-1"))
            if not found:
                return Response(status_code=204)
            request.state.refresh_token = found[-1].strip()
            return await respond(request)

        return check_cookie_first


class SessionRoute(OwnPagesRoute, _CookieRoute):
    """Checks the origin, then the cookie, then the limits."""


router = APIRouter(route_class=OwnPagesRoute, include_in_schema=False)
cookie_router = APIRouter(route_class=SessionRoute, include_in_schema=False)


@router.post(PATH, dependencies=[sign_in_limited])
async def sign_in(
    body: TokenCreate, accounts: AllAccounts, client: Client, request: Request, response: Response
) -> Session:
    """As `POST /api/token/`, by the same limits."""
    pair = await accounts.sign_in(body.username, body.password, client)
    return _session(pair, request, response)


@cookie_router.post(PATH + "refresh/", dependencies=[tokens_limited])
async def refresh(accounts: AllAccounts, request: Request, response: Response) -> Session:
    """Pages of one browser that renew at the same moment get the same pair."""
    try:
        pair = await accounts.refresh(request.state.refresh_token)
    except NotAuthenticated as problem:
        problem.headers["Set-Cookie"] = _cookie(request, "", max_age=0)
        raise
    return _session(pair, request, response)


@cookie_router.delete(PATH, status_code=204, dependencies=[tokens_limited])
async def sign_out(accounts: AllAccounts, request: Request, response: Response) -> None:
    with suppress(NotAuthenticated):  # it is signed out already
        await accounts.sign_out(request.state.refresh_token)
    response.headers["Set-Cookie"] = _cookie(request, "", max_age=0)


def _session(pair: SignedPair, request: Request, response: Response) -> Session:
    settings: Settings = request.app.state.settings
    response.headers["Set-Cookie"] = _cookie(
        request, pair.refresh, max_age=settings.refresh_token_seconds
    )
    return Session(
        access=pair.access,
        expires_in=max(0, pair.access_expires_at - int(time.time())),
        user=SessionUser(id=pair.user_id, username=pair.username),
    )


def _cookie(request: Request, token: str, *, max_age: int) -> str:
    """A `Set-Cookie` for these routes alone; `max_age` 0 deletes it."""
    addresses: PublicAddresses = request.app.state.addresses
    path = addresses.prefix(request.scope) + PATH
    return f"{COOKIE}={token}; Path={path}; Max-Age={max_age}; HttpOnly; Secure; SameSite=Strict"
