"""Authentication of FastAPI routes: the access token is checked before anything else is read."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response, Security

from shared.auth.authenticator import Authenticator
from shared.auth.tokens import Claims
from shared.web.openapi import bearer
from shared.web.strict_routes import StrictRoute


class AuthenticatedRoute(StrictRoute):
    """Checks the token before FastAPI reads and parses the body.

    The application keeps its `Authenticator` in `app.state.authenticator`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        respond = super().get_route_handler()

        async def authenticate_first(request: Request) -> Response:
            """Raises NotAuthenticated: no token, or an invalid one; and Unavailable."""
            authenticator: Authenticator = request.app.state.authenticator
            request.state.claims = await authenticator.caller(request.headers.raw)
            return await respond(request)

        return authenticate_first


async def claims_of(request: Request, _documented: Annotated[object, Security(bearer)]) -> Claims:
    claims: Claims = request.state.claims
    return claims


# For the routes of an `AuthenticatedRoute` router alone.
Caller = Annotated[Claims, Depends(claims_of)]
