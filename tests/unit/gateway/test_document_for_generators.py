"""The OpenAPI document has what generators of clients need: names, formats, one kind of answer."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import catalog.app
from gateway.app import documented_app
from gateway.openapi import TAGS, lean_document, merge
from shared.config.settings import Settings
from shared.web.openapi import schema_name

Node = Mapping[str, Any]

VERBS = "Request|Create|Update|Delete|Refresh|Verify|Confirm|Cancel|Extend|Rewind"


@pytest.fixture(scope="module")
def document() -> Node:
    settings = Settings(database_url="postgresql://nobody@localhost/none")
    of_catalog = catalog.app.create_app(settings).openapi()
    return merge(documented_app().openapi(), lean_document(), of_catalog)


def operations(document: Node) -> Iterator[Node]:
    for item in document["paths"].values():
        yield from item.values()


def schemas_in(node: Any) -> Iterator[Node]:
    """Every schema below a node, but no examples."""
    if isinstance(node, list):
        for each in node:
            yield from schemas_in(each)
    elif isinstance(node, dict):
        yield node
        for name, value in node.items():
            if name not in ("example", "examples", "default", "enum"):
                yield from schemas_in(value)


def test_an_operation_is_called_by_its_tag_and_a_verb(document: Node) -> None:
    for operation in operations(document):
        (tag,) = operation["tags"]
        resource, verb = operation["operationId"].split(".")
        assert resource == tag.lower().replace(" ", "_")
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", verb)
        assert operation["summary"]
        assert operation["description"]
    used = {tag for operation in operations(document) for tag in operation["tags"]}
    assert {tag["name"] for tag in TAGS} == used
    assert all(tag["description"] for tag in TAGS)


def test_an_operation_has_one_kind_of_answer(document: Node) -> None:
    for operation in operations(document):
        kinds = {
            (media_type, str(content["schema"]))
            for status, response in operation["responses"].items()
            for media_type, content in response.get("content", {}).items()
            if status.startswith("2")
        }
        assert len(kinds) <= 1, operation["operationId"]


def test_schemas_are_named_in_one_way(document: Node) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        assert re.fullmatch(r"([A-Z][a-z]+)+", name)
        own = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        # openapi-python-client would take one for the other.
        assert own not in schema.get("properties", {}), name
    for operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert re.search(f"/[A-Z][A-Za-z]+({VERBS})$", content["schema"]["$ref"])


def test_nothing_is_left_for_a_generator_to_name(document: Node) -> None:
    for name, component in document["components"]["schemas"].items():
        within = [each for each in schemas_in(component) if each is not component]
        assert not [each for each in within if "enum" in each], name
        assert not [each for each in within if "properties" in each and "type" in each], name
    titles = [each for each in schemas_in(document["components"]) if "title" in each]
    assert [each for each in titles if isinstance(each["title"], str)] == []


def test_null_is_a_type_of_the_same_schema(document: Node) -> None:
    for schema in schemas_in([document["paths"], document["components"]]):
        if {"type": "null"} in schema.get("anyOf", ()):
            assert all("$ref" in kind or kind == {"type": "null"} for kind in schema["anyOf"])


def test_an_integer_says_how_large_it_gets(document: Node) -> None:
    seen = set()
    parameters = [p for o in operations(document) for p in o["parameters"] if "schema" in p]
    unbounded = [p["schema"] for p in parameters if "maximum" not in p["schema"]]
    for schema in schemas_in([document["paths"], document["components"]]):
        if any(schema is one for one in unbounded):
            assert "int" not in schema.get("format", ""), schema  # a larger one means the largest
        elif "integer" in (schema.get("type") or ()):
            fits = schema.get("maximum", 2**63) < 2**31
            assert schema["format"] == ("int32" if fits else "int64"), schema
            seen.add(schema["format"])
    assert seen == {"int32", "int64"}


def test_a_problem_has_the_codes_and_members_of_its_operation(document: Node) -> None:
    schemas = document["components"]["schemas"]
    for operation in operations(document):
        name = schema_name(operation["operationId"])
        shown = [
            example["value"]
            for response in operation["responses"].values()
            for media_type, content in response.get("content", {}).items()
            if media_type == "application/problem+json"
            for example in content["examples"].values()
            if content["schema"] == {"$ref": f"#/components/schemas/{name}Problem"}
        ]
        problem = schemas[f"{name}Problem"]
        assert problem["properties"]["code"] == {"$ref": f"#/components/schemas/{name}Code"}
        assert set(schemas[f"{name}Code"]["enum"]) == {each["code"] for each in shown}
        assert set(problem["properties"]) == set().union(*shown)
        assert {"code", "detail", "status"} <= set(problem["required"])
    of_purchase = schemas["PurchaseCreateProblem"]["properties"]
    assert {"id", "short", "errors"} <= set(of_purchase)
    assert "epoch" in schemas["FeedReadProblem"]["properties"]
    assert "short" not in schemas["PurchaseConfirmProblem"]["properties"]


def test_what_reads_a_body_may_refuse_it(document: Node) -> None:
    """A POST without a body of its own reads one that is sent."""
    of_bodies = {"malformed_body", "body_too_large", "unsupported_content_encoding"}
    for item in document["paths"].values():
        for method, operation in item.items():
            name = schema_name(operation["operationId"])
            codes = set(document["components"]["schemas"][f"{name}Code"]["enum"])
            assert (of_bodies <= codes) is (method in ("post", "put", "patch")), name


def test_optional_fields_of_inputs_are_not_required(document: Node) -> None:
    # openapi-typescript requires what has a default, openapi-python-client always sends it.
    assert not [
        one for one in schemas_in([document["paths"], document["components"]]) if "default" in one
    ]
    schemas = document["components"]["schemas"]
    assert "Default: `false`." in schemas["EventCreate"]["properties"]["published"]["description"]
    assert set(schemas["EventCreate"]["required"]) == {"title", "start_time", "end_time"}
    assert "required" not in schemas["EventUpdate"]
    assert "id" not in schemas["EventCreate"]["properties"]
    assert set(schemas["Event"]["required"]) == set(schemas["Event"]["properties"])


def test_a_link_has_no_body(document: Node) -> None:
    """OpenAPI Generator reads only texts there."""
    links = [
        link
        for operation in operations(document)
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert links
    assert not [link for link in links if "requestBody" in link]


def test_a_public_operation_says_so(document: Node) -> None:
    assert document["security"] == [{"bearerAuth": []}]
    of = {operation["operationId"]: operation["security"] for operation in operations(document)}
    assert of["sales.list"] == of["tokens.create"] == []
    assert of["accounts.delete"] == [{"bearerAuth": []}]
    assert of["purchases.create"] == of["events.list"] == [{"bearerAuth": []}, {"apiKey": []}]
