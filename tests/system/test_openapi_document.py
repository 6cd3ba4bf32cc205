"""The OpenAPI document of the gateway is complete and valid, and its examples match its schemas."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import openapi_spec_validator
import pytest
from fastapi.routing import APIRoute
from openapi_schema_validator import OAS31Validator

from catalog.events import routes as event_routes
from catalog.ticket_types import routes as ticket_type_routes
from gateway import api_docs, health, openapi
from gateway.accounts import routes as account_routes
from gateway.api_keys import routes as key_routes
from gateway.audits import routes as audit_routes
from gateway.feed import routes as feed_routes
from gateway.live import routes as live_routes
from gateway.purchases import list_routes
from gateway.webhooks import routes as webhook_routes
from shared.errors import MethodNotAllowed, problem_classes
from shared.web import metrics_routes
from tests.system.conftest import Shop

ROUTERS = [
    *(account_routes.router, account_routes.signed_in_router, list_routes.router, health.router),
    *(
        key_routes.router,
        feed_routes.router,
        live_routes.router,
        audit_routes.router,
        webhook_routes.router,
        metrics_routes.router,
        openapi.router,
        api_docs.router,
    ),
    *(event_routes.router, ticket_type_routes.router),
]
# Plain ASGI (`routes.py` of gateway/sales, gateway/purchases and gateway/resolutions).
LEAN_ROUTES = {
    *(("get", path) for path in ("/api/sales/", "/api/sales/{id}/")),
    ("post", "/api/ticket-purchases/"),
    ("get", "/api/ticket-purchases/{id}/"),
    ("get", "/api/ticket-purchases/{id}/events/"),
    *(("post", f"/api/ticket-purchases/{{id}}/{to}/") for to in ("confirm", "release", "cancel")),
    ("post", "/api/events/{id}/extend-holds/"),
}
PUBLIC_OPERATIONS = {
    *("accounts.create", "sales.list", "sales.read"),
    *(f"tokens.{verb}" for verb in ("create", "refresh", "verify", "revoke", "read_jwks")),
    *(f"operation.{name}" for name in ("healthz", "readyz", "metrics", "schema", "docs")),
}

ONE_PURCHASE, ONE_EVENT = "/api/ticket-purchases/{id}/", "/api/events/{id}/"

Document = Mapping[str, Any]
# Location, schema, and value.
Example = tuple[str, Mapping[str, Any], Any]


@pytest.fixture(scope="module")
def document(shop: Shop) -> Document:
    whole: Document = httpx.get(f"{shop.url}/api/schema/").json()
    return whole


def operations(document: Document) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def resolved(document: Document, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node, or the component that it refers to."""
    if "$ref" not in node:
        return node
    _, kind, name = node["$ref"].removeprefix("#").rsplit("/", 2)
    component: Mapping[str, Any] = document["components"][kind][name]
    return component


def bodies(
    document: Document,
) -> Iterator[tuple[str, Mapping[str, Any], list[Any]]]:
    """Every JSON body of a request or response: location, schema, examples."""
    for _, _, operation in operations(document):
        contents = {"request": operation.get("requestBody", {}).get("content", {})}
        contents |= {s: r.get("content", {}) for s, r in operation["responses"].items()}
        for place, content in contents.items():
            for media_type, body in content.items():
                if media_type.endswith("json") and body["schema"]:
                    where = f"{operation['operationId']} {place}"
                    yield where, body["schema"], body_examples(document, body)


def body_examples(document: Document, body: Mapping[str, Any]) -> list[Any]:
    named = [example["value"] for example in body.get("examples", {}).values()]
    own = named + ([body["example"]] if "example" in body else [])
    return own or resolved(document, body["schema"]).get("examples", [])


def values(document: Document) -> Iterator[Example]:
    """Every parameter and every header that has an example."""
    for _, _, operation in operations(document):
        parameters = {
            p["name"]: p for p in (resolved(document, p) for p in operation["parameters"])
        }
        answered = {
            f"{status} {name}": resolved(document, header)
            for status, response in operation["responses"].items()
            for name, header in response["headers"].items()
        }
        for name, one in {**parameters, **answered}.items():
            shown = [one["example"]] if "example" in one else []
            for example in shown + one["schema"].get("examples", []):
                yield f"{operation['operationId']} {name}", one["schema"], example


def of_schemas(document: Document) -> Iterator[Example]:
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            yield name, schema, example


def of_events(document: Document) -> Iterator[Example]:
    """The data of the events of streams."""
    for path, name in (
        (f"{ONE_PURCHASE}events/", "Purchase"),
        (f"{ONE_EVENT}live/events/", "Live"),
    ):
        response = document["paths"][path]["get"]["responses"]["200"]
        for line in response["content"]["text/event-stream"]["example"].splitlines():
            if line.startswith("data: "):
                yield path, document["components"]["schemas"][name], json.loads(line[6:])


def test_the_document_is_valid(document: Document) -> None:
    assert document["openapi"].startswith("3.1")
    openapi_spec_validator.validate(dict(document))


def test_every_route_is_documented_and_nothing_else(document: Document) -> None:
    routed = {
        (method.lower(), route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert {(method, path) for method, path, _ in operations(document)} == routed | LEAN_ROUTES


def test_every_example_fits_its_schema(document: Document) -> None:
    shown = [
        (where, its_schema, example)
        for where, its_schema, examples in bodies(document)
        for example in examples
    ]
    shown += [*values(document), *of_schemas(document), *of_events(document)]
    assert len(shown) > 400
    for where, its_schema, example in shown:
        rooted = {**its_schema, "components": document["components"]}
        validator = OAS31Validator(rooted, format_checker=OAS31Validator.FORMAT_CHECKER)
        errors = [error.message for error in validator.iter_errors(example)]
        assert not errors, (where, errors)


def test_no_header_parameter_has_an_example(document: Document) -> None:
    """Swagger UI sends a parameter's example as its value: every purchase would have one key."""
    prefilled = [
        (operation["operationId"], parameter["name"])
        for _, _, operation in operations(document)
        for parameter in (resolved(document, p) for p in operation["parameters"])
        if parameter["in"] == "header" and {"example", "examples"} & set(parameter)
    ]
    assert prefilled == []


def test_every_body_has_an_example(document: Document) -> None:
    assert [where for where, _, examples in bodies(document) if not examples] == []


def test_every_error_code_has_an_example(document: Document) -> None:
    shown = {
        (int(status), example["value"]["status"], example["value"]["code"])
        for _, _, operation in operations(document)
        for status, response in operation["responses"].items()
        if int(status) >= 400
        for example in response["content"]["application/problem+json"]["examples"].values()
    }
    assert all(status == in_body for status, in_body, _ in shown)
    kinds = set(problem_classes())
    assert {code for _, _, code in shown} == {kind.code for kind in kinds - {MethodNotAllowed}}
    # No operation has a 405: it is the error of a method that a path does not have.
    description = document["info"]["description"]
    assert all(f"| {kind.status} | `{kind.code}` |" in description for kind in kinds)


def test_every_operation_but_the_public_ones_requires_a_token(document: Document) -> None:
    secured = {o["operationId"]: bool(o.get("security")) for _, _, o in operations(document)}
    assert {name for name, has_security in secured.items() if not has_security} == PUBLIC_OPERATIONS
    for _, _, operation in operations(document):
        if operation.get("security"):
            assert {"bearerAuth": []} in operation["security"]
            assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]
    assert document["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"


def test_every_operation_is_described_under_a_known_tag(document: Document) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for _, _, operation in operations(document):
        assert operation["tags"], operation["operationId"]
        assert set(operation["tags"]) <= tags
        assert operation["summary"], operation["operationId"]
    names = Counter(operation["operationId"] for _, _, operation in operations(document))
    assert set(names.values()) == {1}


def test_every_schema_is_used_and_has_one_name(document: Document) -> None:
    schemas = document["components"]["schemas"]
    text = str(document)
    unused = [name for name in schemas if f"'#/components/schemas/{name}'" not in text]
    assert unused == []
    without_names = [
        str({key: value for key, value in schema.items() if key not in ("title", "description")})
        for name, schema in schemas.items()
        # Those of an operation keep their names when the codes of another one change.
        if not name.endswith(("Problem", "Code"))
    ]
    assert len(set(without_names)) == len(without_names)


def test_every_response_has_the_request_id(document: Document) -> None:
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            assert resolved(document, response["headers"]["X-Request-ID"])["required"], status
