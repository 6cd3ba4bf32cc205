"""What the OpenAPI documents of all services have in common: headers, errors, parameters.

An operation names its own errors. Those that follow from its form are added here: of a malformed
body, of a missing token, of a cross-site request, and 500.
"""

import copy
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict

from shared.auth.caller import KeyScope
from shared.errors import (
    RETRY_AFTER_MAX_SECONDS,
    BodyTooLarge,
    BodyTooSlow,
    CrossSiteRequest,
    InvalidInput,
    MalformedBody,
    NotAuthenticated,
    OutOfScope,
    Problem,
    ServerError,
    TokenExpired,
    TokenMalformed,
    TokenNotValid,
    TooManyRequests,
    UnsupportedContentEncoding,
    problem_classes,
)
from shared.row_ids import MAX_ID
from shared.web.cross_site import SAFE_METHODS
from shared.web.problem_details import PROBLEM_JSON, problem_document

Responses = dict[int | str, dict[str, Any]]

SHORTAGE = "Shortage"
FIELD_ERRORS: Mapping[str, Any] = {
    "type": "object",
    "description": "For validation: the messages of each field.",
    "additionalProperties": {"type": "array", "items": {"type": "string"}},
}
# All that a problem may have; which members one of an operation has, its examples show.
PROBLEM_MEMBERS: Mapping[str, Any] = {
    "type": {"type": "string", "format": "uri-reference"},
    "title": {"type": "string", "description": "The status in words."},
    "status": {"type": "integer", "format": "int32", "minimum": 400, "maximum": 599},
    "detail": {"type": "string", "description": "A sentence for a person."},
    "errors": {"$ref": "#/components/schemas/FieldErrors"},
    "id": {"type": "string", "format": "uuid", "description": "Of a rejected purchase."},
    "epoch": {"type": "string", "description": "Of the restored database's ledgers."},
    "short": {
        "type": "array",
        "minItems": 1,
        "items": {"$ref": f"#/components/schemas/{SHORTAGE}"},
        "description": "Where there were not enough tickets: the lines that were short.",
    },
}
TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1}
# By name: what a header says, and its form.
HEADERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Accept-Encoding": ("Bodies are sent as they are.", {"type": "string", "const": "identity"}),
    "Cache-Control": ("Which caches may store the response, and for how long.", TEXT),
    "Connection": (
        "The connection is closed after this response.",
        {"type": "string", "const": "close"},
    ),
    "Content-Disposition": ("The name of the file.", TEXT),
    "ETag": (
        "The version of the resource, for `If-None-Match` and `If-Match`.",
        {"type": "string", "pattern": r'^(W/)?"[!#-~]+"$'},
    ),
    "Idempotency-Replayed": (
        "An earlier request had the same key and body.",
        {"type": "string", "const": "true"},
    ),
    "Location": ("The URL of the resource.", {"type": "string", "format": "uri-reference"}),
    "Preference-Applied": (
        "The wait that was applied (RFC 7240).",
        {"type": "string", "pattern": "^wait=[0-9]+$"},
    ),
    # Structured fields, as in draft-ietf-httpapi-ratelimit-headers-10.
    "RateLimit": (
        "The limit's name; `r`: requests left; `t`: seconds until there are more.",
        {"type": "string", "pattern": '^"[a-z-]+";r=[0-9]+;t=[0-9]+$'},
    ),
    "RateLimit-Policy": (
        "The limit's name; `q`: size of a burst; `w`: seconds until all of it is there again.",
        {"type": "string", "pattern": '^"[a-z-]+";q=[0-9]+;w=[0-9]+$'},
    ),
    "Retry-After": (
        "Seconds to wait before the next request.",
        {
            "type": "integer",
            "format": "int32",
            "minimum": 0,
            "maximum": RETRY_AFTER_MAX_SECONDS,
        },
    ),
    "Vary": ("The request headers that the response depends on.", TEXT),
    "WWW-Authenticate": ("How to authenticate (RFC 6750).", TEXT),
    "X-Request-ID": (
        "The id of the request in all logs: the one that was sent, or a new one.",
        TEXT,
    ),
}
ETAG = {"ETag": '"0123456789abcdef0123456789abcdef"'}
UNKNOWN_PARAMETER = InvalidInput(errors={"x": ["Unknown query parameter."]})
REQUEST_ID = "01a2035e-7a5b-7c3d-8f4e-2b1a9c8d7e60"
REQUEST_ID_PARAMETER: Mapping[str, Any] = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "An id for this request, to find it in the logs. Used if it is 1-128 of"
    " `A-Z a-z 0-9 . _ : + / = @ -`.",
    "schema": {"type": "string"},
}
# What is data, whatever it looks like.
VALUES = frozenset({"example", "examples", "default", "const", "enum"})
MAX_INT4 = 2**31 - 1
OF_TOKENS = (NotAuthenticated, TokenExpired, TokenMalformed, TokenNotValid)
OF_BODIES = (MalformedBody, BodyTooSlow, BodyTooLarge, UnsupportedContentEncoding)
# FastAPI adds a 422 that is never sent: validation errors are 400 here.
FASTAPI_SCHEMAS = ("HTTPValidationError", "ValidationError")

# Only documents the scheme: each service checks tokens by `shared.auth.tokens`.
bearer = HTTPBearer(
    scheme_name="bearerAuth",
    bearerFormat="JWT",
    description=(
        "The `access` token of `POST /api/token/`, or an access token of an issuer that the"
        " operator trusts."
    ),
    auto_error=False,
)
TOKEN_SECURITY: list[dict[str, list[str]]] = [{bearer.scheme_name: []}]
KEY_SCHEME = "apiKey"
# Of an operation. Only OAuth has scopes that all tools know.
SCOPE = "x-key-scope"
KEY_SECURITY: Mapping[str, Any] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "evk_...",
    "description": "A key of `POST /api/keys/`. It acts as its owner where it has the scope that"
    " an operation names; those that name none take a token only.",
}


def with_example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


def with_page_of(example: dict[str, Any], path: str) -> ConfigDict:
    """The example is the second of three pages."""
    url = f"https://shop.example{path}"
    page = {"count": 41, "next": f"{url}?page=3", "previous": url, "results": [example]}
    return with_example(page)


def schemas_of(*models: type[BaseModel]) -> dict[str, Any]:
    """As components of a document. FastAPI would leave the nulls of examples out."""
    schemas: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas


def secured_by(scope: KeyScope) -> dict[str, Any]:
    """Members of an operation: it takes a user's token, or a key with this scope."""
    return {"security": [*TOKEN_SECURITY, {KEY_SCHEME: []}], SCOPE: scope.value}


def headers(
    always: Mapping[str, str], sometimes: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """The headers of a response, each with an example."""
    return {
        name: {
            "description": HEADERS[name][0],
            "required": name in always,
            "schema": HEADERS[name][1],
            "example": int(example) if name == "Retry-After" else example,
        }
        for name, example in {**always, **(sometimes or {})}.items()
    }


def rate_limits(policy: str) -> dict[str, str]:
    """The headers that report a rate limit, with an example of each."""
    return {"RateLimit": f'"{policy}";r=19;t=1', "RateLimit-Policy": f'"{policy}";q=20;w=4'}


def too_many(policy: str) -> TooManyRequests:
    return TooManyRequests(headers={"Retry-After": "1", **rate_limits(policy)})


def error_responses(
    *problems: Problem | type[Problem], sometimes: Mapping[str, str] | None = None
) -> Responses:
    """The error responses of an operation; each status has an example of each code.

    Args:
        problems: the class, or an instance that shows the detail of this operation.
        sometimes: headers that any of these responses may have, besides its own.
    """
    by_status: dict[int, list[Problem]] = {}
    for problem in problems:
        shown = problem if isinstance(problem, Problem) else problem()
        by_status.setdefault(shown.status, []).append(shown)
    return {
        str(status): _response(status, shown, sometimes or {})
        for status, shown in by_status.items()
    }


def _response(status: int, problems: list[Problem], sometimes: Mapping[str, str]) -> dict[str, Any]:
    always = set.intersection(*(set(problem.headers) for problem in problems))
    examples = {name: value for problem in problems for name, value in problem.headers.items()}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": headers(
            {name: value for name, value in examples.items() if name in always},
            {**sometimes, **examples},
        ),
        "content": {
            PROBLEM_JSON: {
                "schema": {},  # `complete` knows all codes of the operation
                "examples": {
                    problem.code: {"summary": problem.detail, "value": problem_document(problem)}
                    for problem in problems
                },
            }
        },
    }


def links_by_id(*operation_ids: str, **parameters: str) -> dict[str, dict[str, Any]]:
    """Links to the operations that take the `id` of the response, and other parameters."""
    all_parameters = {"id": "$response.body#/id", **parameters}
    return {
        operation_id: {"operationId": operation_id, "parameters": all_parameters}
        for operation_id in operation_ids
    }


def error_table() -> str:
    """Every error code, as a table in Markdown."""
    rows = sorted({(p.status, p.code, p.default_detail) for p in problem_classes()})
    lines = (f"| {status} | `{code}` | {detail} |" for status, code, detail in rows)
    return "\n".join(("| status | code | detail |", "| --- | --- | --- |", *lines))


class DocumentedApp(FastAPI):
    """A FastAPI application whose document has the errors and headers of every response."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return super().openapi()


def complete(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the document with what all operations have in common."""
    completed = copy.deepcopy(dict(document))
    components = completed.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in FASTAPI_SCHEMAS:
        schemas.pop(name, None)
    components["parameters"] = {"X-Request-ID": REQUEST_ID_PARAMETER}
    components["headers"] = headers({"X-Request-ID": REQUEST_ID})
    components.setdefault("securitySchemes", {})[KEY_SCHEME] = KEY_SECURITY
    for operations in completed["paths"].values():
        for method, operation in operations.items():
            _complete_operation(method, operation)
            schemas |= _problem_schemas(operation)
    schemas["FieldErrors"] = FIELD_ERRORS
    return completed | {"paths": _tidy(completed["paths"]), "components": _tidy(components)}


def _complete_operation(method: str, operation: dict[str, Any]) -> None:
    operation.setdefault("security", [])
    if operation["security"]:
        scope = operation.get(SCOPE)
        of_keys = f"An API key needs the scope `{scope}`." if scope else "Not with an API key."
        operation["description"] = f"{operation['description']}\n\n{of_keys}"
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]
    for status, response in error_responses(*_errors_by_form(method, operation)).items():
        described = responses.setdefault(status, response)
        for media_type, content in response["content"].items():
            shown = described["content"][media_type]["examples"]
            shown |= {code: e for code, e in content["examples"].items() if code not in shown}
    for response in responses.values():
        response["headers"] = response.get("headers", {}) | {
            "X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}
        }
    operation["responses"] = dict(sorted(responses.items()))
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        parameter["schema"] = _without_null(parameter["schema"])
        parameter["schema"].pop("description", None)  # the parameter has it, too
        _move_default(parameter, parameter["schema"])
    parameters.append({"$ref": "#/components/parameters/X-Request-ID"})


def _problem_schemas(operation: Mapping[str, Any]) -> dict[str, Any]:
    """The problem of the operation, with the codes and members of its examples, and its codes."""
    contents = [
        response["content"][PROBLEM_JSON]
        for response in operation["responses"].values()
        if PROBLEM_JSON in response.get("content", {})
    ]
    shown = [example["value"] for each in contents for example in each["examples"].values()]
    always, ever = (step(*map(set, shown)) for step in (set.intersection, set.union))
    name = schema_name(operation["operationId"])
    code = {"$ref": f"#/components/schemas/{name}Code"}
    for content in contents:
        content["schema"] = {"$ref": f"#/components/schemas/{name}Problem"}
    members = {"code": code, **PROBLEM_MEMBERS}
    problem = {
        "type": "object",
        "description": "An error (RFC 9457). `code` is for programs, `detail` for people.",
        "required": sorted(always),
        "properties": {member: schema for member, schema in members.items() if member in ever},
    }
    codes = {"type": "string", "enum": sorted({problem["code"] for problem in shown})}
    return {f"{name}Problem": problem, f"{name}Code": codes}


def schema_name(operation_id: str) -> str:
    """`TicketTypePause` for `ticket_types.pause`."""
    resource, verb = operation_id.split(".")
    return f"{resource.removesuffix('s')}_{verb}".title().replace("_", "")


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query string or header cannot be null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    others = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**others, **kinds[0]} if len(kinds) == 1 else {**others, "anyOf": kinds}


def _tidy(node: Any) -> Any:
    """A document as generators like it.

    They make a type of its own of each half of an `anyOf`. FastAPI writes all bounds as floats,
    which cannot hold the largest id. An integer without a format is of 32 bits in many languages.
    Titles say again what a property is called, and some generators name types by them.
    """
    if isinstance(node, list):
        return [_tidy(each) for each in node]
    if isinstance(node, float) and node.is_integer():
        return min(int(node), MAX_ID)
    if not isinstance(node, dict):
        return node
    tidied = {
        name: value if name in VALUES else _tidy(value)
        for name, value in node.items()
        if not (name == "title" and isinstance(value, str))
    }
    _move_default(tidied, tidied)
    tidied |= _nullable(tidied.pop("anyOf", None))
    if tidied.get("type") in ("integer", ["integer", "null"]):
        fits = tidied.get("maximum", MAX_ID) <= MAX_INT4
        tidied.setdefault("format", "int32" if fits else "int64")
    schema = tidied.get("schema", {}) if "in" in tidied else {}
    if schema.get("type") == "integer" and "maximum" not in schema:
        del schema["format"]  # a larger `page_size` or `wait` means the largest
    return tidied


def _move_default(described: dict[str, Any], schema: dict[str, Any]) -> None:
    """Into the description: some generators require what has a default, or always send it."""
    default = schema.pop("default", None)
    if isinstance(default, str | int):  # no list, no null
        said = default if isinstance(default, str) else json.dumps(default)
        words = f"Default: `{said}`." if said else "Default: empty."
        description = f"{described.get('description', '')} {words}"
        described["description"] = description.lstrip()


def _nullable(kinds: list[dict[str, Any]] | None) -> dict[str, Any]:
    """`{"type": [..., "null"]}` for what pydantic calls any of two, one of which is null."""
    if kinds is None or len(kinds) != 2 or kinds[1] != {"type": "null"} or "type" not in kinds[0]:
        return {} if kinds is None else {"anyOf": kinds}
    return {**kinds[0], "type": [kinds[0]["type"], "null"]}


def _errors_by_form(method: str, operation: Mapping[str, Any]) -> list[Problem | type[Problem]]:
    # Strict routes refuse unknown parameters.
    of_query = [UNKNOWN_PARAMETER] if operation.get("tags") != ["Operation"] else []
    of_site = [CrossSiteRequest] if method.upper() not in SAFE_METHODS else []
    # A POST that takes no body reads one that is sent.
    of_body = OF_BODIES if method in ("post", "put", "patch") else ()
    of_token = [*OF_TOKENS, OutOfScope] if operation.get("security") else []
    return [*of_query, *of_body, *of_token, *of_site, ServerError]
