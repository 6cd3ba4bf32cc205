"""Routes that take what they know and nothing else: strict JSON, no unknown names."""

from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from shared.errors import InvalidInput
from shared.web.json_body import parse_json
from shared.web.unknown_names import query_errors, unknown_names

# RFC 9110, 9.3: what stands in the body of such a request means nothing.
BODILESS_METHODS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class RequestBody(BaseModel):
    """The base of all models of request bodies: a field that they do not have is refused."""

    model_config = ConfigDict(extra="forbid")


class StrictRoute(APIRoute):
    """A FastAPI route that reads JSON strictly, and refuses fields and parameters it has not."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        parameters = frozenset(_query_parameters(self.dependant))
        fields = _fields(self)

        async def answer_strictly(request: Request) -> Response:
            """Raises InvalidInput: there are query parameters that this route does not have."""
            query: bytes = request.scope["query_string"]
            if query and (errors := query_errors(query, parameters)):
                raise InvalidInput(errors=errors)
            if self.body_field is None and request.method not in BODILESS_METHODS:
                _refuse_fields(await request.body())
            return await answer(_StrictRequest(request, fields))

        return answer_strictly


def _refuse_fields(body: bytes) -> None:
    """Raises MalformedBody or InvalidInput: it is neither empty nor `{}`."""
    if not body:
        return
    value = parse_json(body)
    if not isinstance(value, dict):
        raise InvalidInput(errors={"body": ["must be empty or a JSON object"]})
    if errors := unknown_names(value, (), "field"):
        raise InvalidInput(errors=errors)


class _StrictRequest(Request):
    def __init__(self, request: Request, fields: Collection[str]) -> None:
        super().__init__(request.scope, request.receive)
        self._fields = fields

    async def json(self) -> Any:
        """Raises MalformedBody or InvalidInput.

        pydantic would name the unknown fields too, all the thousands of them.
        """
        body = parse_json(await self.body())
        if isinstance(body, dict) and (errors := unknown_names(body, self._fields, "field")):
            raise InvalidInput(errors=errors)
        return body


def _fields(route: APIRoute) -> Collection[str]:
    """The names of the fields that the body of a route has."""
    model = route.body_field.field_info.annotation if route.body_field is not None else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        return frozenset(model.model_fields)
    return frozenset()


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    """The names that a route and its dependencies take."""
    for parameter in dependant.query_params:
        yield parameter.alias
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)
