"""Routes with strict JSON, and an error for unknown fields and query parameters."""

from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from shared.errors import InvalidInput
from shared.web.json_body import parse_json, parse_object
from shared.web.unknown_names import query_errors, unknown_names

# RFC 9110, 9.3: a body has no meaning in these requests.
BODILESS_METHODS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class RequestBody(BaseModel):
    """The base of all request bodies: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        parameters = frozenset(_query_parameters(self.dependant))
        fields = _fields(self)

        async def answer_strictly(request: Request) -> Response:
            query: bytes = request.scope["query_string"]
            if query and (errors := query_errors(query, parameters)):
                raise InvalidInput(errors=errors)
            if self.body_field is None and request.method not in BODILESS_METHODS:
                _check_no_fields(await request.body())
            return await answer(_StrictRequest(request, fields))

        return answer_strictly


def _check_no_fields(body: bytes) -> None:
    """Raise MalformedBody or InvalidInput unless it is empty or `{}`."""
    if not body:
        return
    if errors := unknown_names(parse_object(body), (), "field"):
        raise InvalidInput(errors=errors)


class _StrictRequest(Request):
    def __init__(self, request: Request, fields: Collection[str]) -> None:
        super().__init__(request.scope, request.receive)
        self._fields = fields

    async def json(self) -> Any:
        """Unlike pydantic, name only the first few of thousands of unknown fields."""
        body = parse_json(await self.body())
        if isinstance(body, dict) and (errors := unknown_names(body, self._fields, "field")):
            raise InvalidInput(errors=errors)
        return body


def _fields(route: APIRoute) -> Collection[str]:
    model = route.body_field.field_info.annotation if route.body_field is not None else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        return frozenset(model.model_fields)
    return frozenset()


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    """The names of a route's and its dependencies' parameters."""
    for parameter in dependant.query_params:
        yield parameter.alias
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)
