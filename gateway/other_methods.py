"""Routes below an event that the catalog, which has the other routes of events, does not know."""

from starlette.types import Receive, Scope, Send

from shared.errors import MethodNotAllowed
from shared.observability.metrics import NamedRoute


class OtherMethods:
    """Refuses the methods of a route that it does not allow."""

    def __init__(self, path: str, allow: str = "GET, HEAD") -> None:
        self._route = NamedRoute(path)
        self._allow = allow

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Raises MethodNotAllowed, NotAuthenticated, and Unavailable."""
        scope["route"] = self._route
        await scope["app"].state.authenticator.caller(scope["headers"])
        raise MethodNotAllowed(headers={"Allow": self._allow})
