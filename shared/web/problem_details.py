"""Errors as HTTP responses: application/problem+json (RFC 9457), the same from every service."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from shared import errors
from shared.errors import Problem
from shared.web.json_body import NOT_AN_OBJECT
from shared.web.public_address import PublicAddresses

PROBLEM_JSON = "application/problem+json"
# The gateway's page of all codes.
ERRORS_PATH = "/api/docs/errors/"
# A key of the scope: the PublicAddresses of the service.
ADDRESSES = "eventify.addresses"
NOT_A_TIME = "Must be a time that exists, such as 2026-11-22T20:00:00Z."
NOT_WHOLE = "Must be a whole number."
ONE_OF_MANY = re.compile(r"\b1 (item|character)s")
# By the type of pydantic's error, whose own words are about Python.
MESSAGES = {
    "missing": errors.REQUIRED,
    "bool_type": "Must be true or false.",
    "datetime_from_date_parsing": NOT_A_TIME,
    "datetime_object_invalid": NOT_A_TIME,
    "datetime_parsing": NOT_A_TIME,
    "datetime_type": NOT_A_TIME,
    "enum": "Must be {expected}.",
    "extra_forbidden": "Unknown field.",
    "finite_number": "Must be a finite number.",
    "greater_than_equal": "Must be at least {ge}.",
    "int_from_float": NOT_WHOLE,
    "int_parsing": NOT_WHOLE,
    "int_parsing_size": NOT_WHOLE,
    "int_type": NOT_WHOLE,
    "less_than_equal": "Must be at most {le}.",
    "list_type": "Must be a list.",
    "literal_error": "Must be {expected}.",
    "model_attributes_type": NOT_AN_OBJECT,
    "model_type": NOT_AN_OBJECT,
    "string_pattern_mismatch": "Must match {pattern}.",
    "string_too_long": "Must have at most {max_length} characters.",
    "string_too_short": "Must have at least {min_length} characters.",
    "string_type": "Must be a text.",
    "string_unicode": "Must be a text without lone surrogates.",
    "timezone_aware": NOT_A_TIME,
    "too_long": "Must have at most {max_length} items.",
    "too_short": "Must have at least {min_length} items.",
    "uuid_parsing": "Must be a UUID.",
    "uuid_type": "Must be a UUID.",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def problem_document(problem: Problem, scope: Scope | None = None) -> dict[str, object]:
    """The members of a problem (RFC 9457); `type` explains its code.

    Args:
        scope: of the request, which `type` has the public URL of; without one it is a path.
    """
    addresses: PublicAddresses | None = (scope or {}).get(ADDRESSES)
    root = addresses.of(scope).url if addresses is not None and scope is not None else ""
    document: dict[str, object] = {
        "type": f"{root}{ERRORS_PATH}#{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    if problem.errors:
        document["errors"] = problem.errors
    return document | problem.extra


def problem_body(problem: Problem, scope: Scope) -> bytes:
    return msgspec.json.encode(problem_document(problem, scope))


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of a FastAPI application a problem document, also its own 404 and 405."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_unexpected)


def problem_response(problem: Problem, scope: Scope) -> Response:
    body = problem_body(problem, scope)
    return Response(body, problem.status, problem.headers, media_type=PROBLEM_JSON)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error, request.scope)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Problem):
        # FastAPI makes a 400 of any exception while it reads a body.
        return problem_response(error.__cause__, request.scope)
    by_status: dict[int, type[Problem]] = {
        400: errors.MalformedBody,
        404: errors.NotFound,
        405: errors.MethodNotAllowed,
    }
    problem = by_status.get(error.status_code, errors.ServerError)()
    problem.headers.update(error.headers or {})
    if error.status_code == 405:
        problem.headers["Allow"] = ", ".join(_allowed_methods(request))
    return problem_response(problem, request.scope)


def _allowed_methods(request: Request) -> list[str]:
    """The methods of all routes of this path; Starlette names those of the first."""

    def is_allowed(method: str) -> bool:
        # HEAD works wherever GET does (`shared.web.edge.Edge`).
        scope = {**request.scope, "method": "GET" if method == "HEAD" else method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)

    return [method for method in METHODS if is_allowed(method)]


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any((e["type"], e["loc"]) == ("missing", ("body",)) for e in error.errors()):
        return problem_response(errors.MalformedBody("A JSON body is required."), request.scope)
    # ("body", "price") is the field "price".
    found = invalid_input((e["loc"][1:], message_of(e)) for e in error.errors())
    return problem_response(found, request.scope)


def message_of(found: Mapping[str, Any]) -> str:
    """What pydantic found, in a plain sentence."""
    message = MESSAGES.get(found["type"])
    if message is None:
        return str(found["msg"])
    return ONE_OF_MANY.sub(r"1 \1", message.format_map(found.get("ctx", {})))


def invalid_input(found: Iterable[tuple[tuple[int | str, ...], str]]) -> errors.InvalidInput:
    """What pydantic found, by field; `()` is the body as a whole."""
    fields: dict[str, list[str]] = {}
    for place, message in found:
        field = ".".join(str(part) for part in place) or "body"
        fields.setdefault(field, []).append(message.removeprefix("Value error, "))
    return errors.InvalidInput(errors=fields)


async def _on_unexpected(request: Request, _error: Exception) -> Response:
    # Starlette raises it again after this response, and `shared.web.edge.Edge` logs it.
    return problem_response(errors.ServerError(), request.scope)
