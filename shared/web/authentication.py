"""Authentication of FastAPI routes: token or key is checked before anything else is read."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any

from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant

from shared.auth.authenticator import Authenticator
from shared.auth.caller import Caller, KeyScope
from shared.web.openapi import KEY_SCHEME, SCOPE, bearer
from shared.web.strict_routes import StrictRoute


class Requires:
    """Gives the caller, whose key must have this scope; None: no key, but the user's own token."""

    def __init__(self, scope: KeyScope | None) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, _documented: Annotated[object, Security(bearer)]
    ) -> Caller:
        caller: Caller = request.state.caller
        return caller


class AuthenticatedRoute(StrictRoute):
    """Checks the token or key, and its scope, before FastAPI reads and parses the body.

    The application keeps its `Authenticator` in `app.state.authenticator`. Each route depends on
    `Requires`, by one of the types below.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scope = self._scope()
        if scope is not None:
            self.openapi_extra = {"security": [{KEY_SCHEME: []}], SCOPE: scope.value}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        respond = super().get_route_handler()
        scope = self._scope()

        async def authenticate_first(request: Request) -> Response:
            """Raises NotAuthenticated, OutOfScope, and Unavailable."""
            authenticator: Authenticator = request.app.state.authenticator
            caller = await authenticator.caller(request.headers.raw)
            caller.require(scope)
            request.state.caller = caller
            return await respond(request)

        return authenticate_first

    def _scope(self) -> KeyScope | None:
        (scope,) = {each.scope for each in _requirements(self.dependant)}
        return scope


def _requirements(dependant: Dependant) -> Iterator[Requires]:
    if isinstance(dependant.call, Requires):
        yield dependant.call
    for dependency in dependant.dependencies:
        yield from _requirements(dependency)


# For the routes of an `AuthenticatedRoute` router alone; exactly one of them for each.
OwnToken = Annotated[Caller, Depends(Requires(None))]
Reader = Annotated[Caller, Depends(Requires(KeyScope.READ))]
Manager = Annotated[Caller, Depends(Requires(KeyScope.MANAGE))]
