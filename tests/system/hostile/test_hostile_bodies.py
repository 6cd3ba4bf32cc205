"""Hostile bodies: a clear error, never a crash."""

import gzip
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.wire import Wire
from tests.system.conftest import Shop
from tests.system.hostile.attacker import PURCHASES, Attacker, check
from tests.system.hostile.target import EVENT, OWN_ACCOUNT, PASSWORD, Target

ACCOUNT = {"username": "eve", "password": PASSWORD, "email": "eve@example.com"}
TOKENS = {"refresh": "x", "token": "x"}
# Their key is required.
WITH_KEY = ("/cancel/", "/extend-holds/")


@dataclass(frozen=True)
class Operation:
    """An operation with one form of its body, at the address of an existing row.

    `good`: a body that is valid, except for what must be unique, and for passwords. `fields`: all
    in its schema; `strings`: those of them that are strings; `read_only`: those that change
    nothing.
    """

    method: str
    address: str
    fields: list[str]
    strings: set[str]
    read_only: set[str]
    good: dict[str, Any]
    body_required: bool

    @property
    def lines(self) -> list[str]:
        return [f"Idempotency-Key: {uuid4()}"] if self.address.endswith(WITH_KEY) else []


@pytest.fixture
def operations(shop: Shop, target: Target) -> list[Operation]:
    """All that take a body, from the OpenAPI document."""
    values = {"change": 1} | EVENT | target.ticket_type_body | target.purchase_body
    values |= ACCOUNT | TOKENS | {"items": [target.purchase_body], "note": "Refunded"}
    for path in ("/confirm/", "/extend-holds/", "/notice/", "/api/keys/", *OWN_ACCOUNT):
        values |= target.body_for(path)
    document = httpx.get(f"{shop.url}/api/schema/").json()
    found = []
    for path, by_method in document["paths"].items():
        for method, operation in by_method.items():
            if "requestBody" in operation:
                required = operation["requestBody"]["required"]
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                named = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
                for form in named.get("oneOf", [schema]):
                    named = document["components"]["schemas"][form["$ref"].rpartition("/")[2]]
                    properties = named["properties"]
                    fields = list(properties)
                    # Without a type: a reference to an enumeration.
                    strings = {f for f in fields if "string" in properties[f].get("type", "string")}
                    read_only = {f for f in fields if properties[f].get("readOnly")}
                    good = {name: values[name] for name in fields if name in values}
                    address = target.address(path)
                    kinds = (fields, strings, read_only)
                    found.append(Operation(method.upper(), address, *kinds, good, required))
    assert len(found) >= 22
    return found


# --- bodies ---


def no_json(good: dict[str, Any]) -> dict[str, bytes]:
    """Bodies that are no JSON object in UTF-8, or too large."""
    text = json.dumps(good)
    return {
        "empty": b"",
        "spaces": b" \r\n\t",
        **{
            value: value.encode()
            for value in ("null", "true", "0", "-0", "1.5", '"x"', "[]", "[{}]")
        },
        **{value: value.encode() for value in ("1e400", "NaN", "Infinity", "-Infinity")},
        **{
            value: value.encode()
            for value in ("{", "}", "{}}", "{,}", '{"a"}', "{'a': 1}", "{a: 1}")
        },
        "cut off": text[:-1].encode(),
        "comment": b"/* */" + text.encode(),
        "trailing comma": text[:-1].encode() + b",}",
        "two": text.encode() * 2,
        "NUL bytes": b"\0" * 100,
        "NUL at the end": text.encode() + b"\0",
        "control character in a text": text.encode()[:-1] + b', "x": "\x01"}',
        "no UTF-8": b"\xff\xfe" + text.encode(),
        "byte order mark": b"\xef\xbb\xbf" + text.encode(),
        **{encoding: text.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-32")},
        **{
            f"{constant} in it": text.encode()[:-1] + f', "id": {constant}}}'.encode()
            for constant in ("NaN", "Infinity", "-Infinity")
        },
        "gzip": gzip.compress(text.encode()),
        "form": b"title=x&ticket_type=1&quantity=1",
        "XML": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        "deep lists": b"[" * 60_000,
        "deep objects": b'{"a":' * 12_000,
        "deep, and closed": b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "deeper than it may be long": b"[" * 100_000,
        "too long": text.encode() + b" " * 70_000,
    }


def test_a_body_that_is_not_a_json_object_is_an_error_everywhere(
    operations: list[Operation],
    attacker: Attacker,
    stored: Callable[[], dict[str, str]],
) -> None:
    before = stored()
    for operation in operations:
        for name, body in no_json(operation.good).items():
            if not body and not operation.body_required:
                continue
            lines = ["Content-Encoding: gzip"] if name == "gzip" else []
            answer = attacker.request(operation.method, operation.address, lines, body)
            check(answer, operation, name)
            expected = 415 if lines else 413 if len(body) > 65_536 else 400
            assert answer.status == expected, (operation, name, answer)
    assert stored() == before


def test_only_utf_8_is_read_whatever_the_charset_says(
    operations: list[Operation], attacker: Attacker
) -> None:
    encodings = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1")
    for operation in operations:
        text = json.dumps(operation.good | {"é": "é"}, ensure_ascii=False)
        bodies = {encoding: text.encode(encoding) for encoding in encodings} | {
            "overlong UTF-8": text.encode().replace("é".encode(), b"\xc0\xaf"),
            "UTF-8 of a surrogate": text.encode().replace("é".encode(), b"\xed\xa0\x80"),
        }
        for encoding, body in bodies.items():
            lines = [f"Content-Type: application/json; charset={encoding}"]
            answer = attacker.request(operation.method, operation.address, lines, body)
            check(answer, operation, encoding)
            assert answer.json()["code"] == "malformed_body", (operation, encoding, answer)


NUMBERS = (
    *("-0", "-1", "1.5", "1e400", "-1e400", "NaN", "Infinity", "1e-400", "9" * 4_000, "9" * 5_000),
    *(str(sign * 2**bits) for bits in (31, 32, 63, 64, 128) for sign in (1, -1)),
)
TEXT_VALUES = (
    *(r'"\u0000"', r'"a\u0000b"', r'"\ud800"', r'"a\udfffb"', r'"\udc00\ud800"', r'"\ud83d\ude00"'),
    *(r'"\uffff"', r'"\u202e"', '""', '" "', '"x"', '"1"', '"0x1"', '"1e3"', '"NaN"', '"null"'),
    *('"٣"', '"\' OR 1=1 --"', '"%s%n{0}${x}"', f'"{"x" * 60_000}"', '"2026-01-01T00:00:00+99:99"'),
    *('"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', '"2026-02-30T00:00:00Z"'),
)
OTHER_VALUES = (
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[1]",
    '[["x"]]',
    '{"a": {"b": null}}',
    "[" * 500 + "]" * 500,
)


# Of a field that is ignored, whatever its value: one of each kind.
IGNORED_VALUES = ("null", "1e400", "9" * 5_000, r'"\u0000"', r'"\ud800"', "[" * 500 + "]" * 500)


def hostile_values(operation: Operation, field: str) -> Iterable[str]:
    """What is hard to read as the type of the field, and a little of everything else."""
    if field in operation.read_only:
        return IGNORED_VALUES
    if field in operation.strings:
        return (*TEXT_VALUES, *OTHER_VALUES, "-0", "1e400", "9" * 5_000)
    return (*NUMBERS, *OTHER_VALUES, r'"\u0000"', r'"\ud800"', '"1e3"')


def test_a_hostile_value_in_any_field_crashes_nothing(
    operations: list[Operation], attacker: Attacker
) -> None:
    tried = 0
    for operation in operations:
        # The POST stores the same values, and does not wait for a row's turn.
        stale = ['If-Match: "stale"'] if operation.method in ("PUT", "PATCH") else []
        for field in operation.fields:
            for value in hostile_values(operation, field):
                body = json.dumps(operation.good | {field: 0})
                body = body.replace(f'"{field}": 0', f'"{field}": {value}')
                lines = [*stale, *operation.lines]
                answer = attacker.request(operation.method, operation.address, lines, body.encode())
                check(answer, operation, field, value[:200])
                tried += 1
    assert tried > 1_000


def test_text_that_cannot_be_stored_is_named_by_field(
    operations: list[Operation], attacker: Attacker
) -> None:
    tried = set()
    for operation in operations:
        for field in operation.strings - operation.read_only:
            for value in ("\0", "a\0b", "\ud800", "a\udfffb", "\ude00\ud83d", " \ud800 "):
                body = json.dumps(operation.good | {field: value}).encode()
                lines = operation.lines
                answer = attacker.request(operation.method, operation.address, lines, body)
                assert answer.status == 400, (operation, field, answer)
                assert answer.json()["errors"].keys() == {field}, (operation, field, answer)
                tried.add(field)
    assert tried > {"title", "start_time", "price", "buyer", "password", "note", "url"}


def test_of_a_name_that_stands_twice_the_last_counts(target: Target, attacker: Attacker) -> None:
    for twice in ('"quantity": 1, "quantity": 2', '"quantity": "x", "quantity": 2'):
        body = f'{{"ticket_type": {target.sold_type}, {twice}}}'.encode()
        bought = attacker.request("POST", PURCHASES, [], body)
        assert (bought.status, bought.json()["quantity"]) == (202, 2), twice
    for first in ('"first"', "1"):
        body = f'{{"title": {first}, {json.dumps(EVENT | {"title": "last"})[1:]}'.encode()
        created = attacker.request("POST", "/api/events/", [], body)
        assert (created.status, created.json()["title"]) == (201, "last")


# --- how a body is framed ---


@pytest.mark.parametrize("address", [PURCHASES, "/api/token/", "/api/events/"])
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        # What is wrong in the head is in `tests/system/wire/table.py`: no route sees any of it.
        (b"Transfer-Encoding: chunked", b"x\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"1\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\nX-Trailer: y\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"1000\r\n" + b" " * 4096 + b"\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"11171\r\n" + b" " * 70_001 + b"\r\n0\r\n\r\n"),
        (b"Content-Length: 2", b"{} and more than was said"),
    ],
)
def test_a_body_in_a_wrong_frame_is_an_error(
    wire: Wire, buyer: httpx.Client, address: str, framing: bytes, body: bytes
) -> None:
    token = buyer.headers["Authorization"].encode()
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: %b\r\n%b\r\n\r\n"
    answer = wire.say(head % (address.encode(), token, framing) + body, "POST")
    check(answer, framing, body)
    assert answer.status in (400, 413)


@pytest.mark.parametrize("address", [PURCHASES, "/api/token/", "/api/events/"])
def test_a_client_that_disconnects_within_its_body_harms_no_other(
    buyer: httpx.Client, shop: Shop, address: str
) -> None:
    token = buyer.headers["Authorization"]
    for _ in range(10):
        with closing(Wire(shop.url)) as client:
            head = f"POST {address} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
            client.open().sendall(f"{head}Content-Length: 50\r\n\r\n{{".encode())
    assert buyer.get(address.replace("token", "events")).status_code == 200
