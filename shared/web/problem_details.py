"""Errors as HTTP responses: application/problem+json (RFC 9457), the same from every service."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from shared import errors
from shared.errors import Problem

PROBLEM_JSON = "application/problem+json"
# Where pydantic's own words, by the type of its error, are about Python.
MESSAGES = {
    "too_short": "At least {min_length} is required.",
    "model_attributes_type": "A JSON object is required.",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def problem_document(problem: Problem) -> dict[str, object]:
    """The members of a problem; `about:blank`: the status says what kind it is (RFC 9457)."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    if problem.errors:
        document["errors"] = problem.errors
    return document | problem.extra


def problem_body(problem: Problem) -> bytes:
    return msgspec.json.encode(problem_document(problem))


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of a FastAPI application a problem document, also its own 404 and 405."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_unexpected)


def problem_response(problem: Problem) -> Response:
    return Response(problem_body(problem), problem.status, problem.headers, media_type=PROBLEM_JSON)


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Problem):
        # FastAPI makes a 400 of any exception while it reads a body.
        return problem_response(error.__cause__)
    by_status: dict[int, type[Problem]] = {
        400: errors.MalformedBody,
        404: errors.NotFound,
        405: errors.MethodNotAllowed,
    }
    problem = by_status.get(error.status_code, errors.ServerError)()
    problem.headers.update(error.headers or {})
    if error.status_code == 405:
        problem.headers["Allow"] = ", ".join(_allowed_methods(request))
    return problem_response(problem)


def _allowed_methods(request: Request) -> list[str]:
    """The methods of all routes of this path; Starlette names those of the first."""

    def is_allowed(method: str) -> bool:
        # HEAD works wherever GET does (`shared.web.edge.Edge`).
        scope = {**request.scope, "method": "GET" if method == "HEAD" else method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)

    return [method for method in METHODS if is_allowed(method)]


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any((e["type"], e["loc"]) == ("missing", ("body",)) for e in error.errors()):
        return problem_response(errors.MalformedBody("A JSON body is required."))
    # ("body", "price") is the field "price".
    return problem_response(invalid_input((e["loc"][1:], _message(e)) for e in error.errors()))


def _message(found: Mapping[str, Any]) -> str:
    message = MESSAGES.get(found["type"])
    return found["msg"] if message is None else message.format_map(found.get("ctx", {}))


def invalid_input(found: Iterable[tuple[tuple[int | str, ...], str]]) -> errors.InvalidInput:
    """What pydantic found, by field; `()` is the body as a whole."""
    fields: dict[str, list[str]] = {}
    for place, message in found:
        field = ".".join(str(part) for part in place) or "body"
        fields.setdefault(field, []).append(message.removeprefix("Value error, "))
    return errors.InvalidInput(errors=fields)


async def _on_unexpected(_request: Request, _error: Exception) -> Response:
    # Starlette raises it again after this response, and `shared.web.edge.Edge` logs it.
    return problem_response(errors.ServerError())
