"""What a JSON body is and which names it may have, for the fast decoder and all other routes."""

import math
import time
from functools import partial

import pytest

from gateway.purchases.request_body import LineInput, PurchaseInput, parse_body
from gateway.resolutions import schemas
from shared.errors import InvalidInput, MalformedBody
from shared.web.json_body import parse_json
from shared.web.problem_details import problem_document
from shared.web.unknown_names import query_errors, unknown_names

GOOD = '{"ticket_type": 1, "quantity": 2}'
NOT_JSON = [
    b"",
    b"{",
    b"{} {}",
    b"\xef\xbb\xbf" + GOOD.encode(),
    *(GOOD.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
    *(f'{{"ticket_type": 1, "quantity": {n}}}'.encode() for n in ("NaN", "Infinity", "-Infinity")),
    *(f'{{"ticket_type": 1, "quantity": {n}}}'.encode() for n in ("02", "+2", ".5", "2.", "0x2")),
    b'{"ticket_type": 1, "quantity": 2, "note": "\xff"}',
    b'{"ticket_type": 1, "quantity": 2, "note": "\xed\xa0\x80"}',
    b'{"ticket_type": 1, "quantity": 2, "note": "\x01"}',
    b"{'ticket_type': 1, 'quantity': 2}",
    b'{"ticket_type": 1, "quantity": 2,}',
    b"\xc2\xa0" + GOOD.encode(),
    GOOD.encode() + b"\0",
    b"[" * 60_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
]


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:40]))
def test_invalid_json_is_a_malformed_body_for_both_parsers(body: bytes) -> None:
    for parse in (parse_json, parse_body):
        with pytest.raises(MalformedBody):
            parse(body)


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"1", b"null"])
def test_what_is_no_object_is_the_same_error_for_purchases_and_what_resolves_them(
    body: bytes,
) -> None:
    documents = []
    for read in (parse_body, partial(schemas.parse, schemas.PurchaseConfirm)):
        with pytest.raises(InvalidInput) as error:
            read(body)
        documents.append(problem_document(error.value))
    assert documents[0] == documents[1]


def test_the_detail_says_what_is_wrong() -> None:
    for body, detail in (
        (b"\xef\xbb\xbf{}", "The body begins with a byte order mark."),
        ("{}".encode("utf-16"), "The body is not UTF-8."),
        (b'{"a": NaN}', "The body is not valid JSON: NaN is not a JSON number."),
        (b"[" * 60_000, "The body is nested too deeply."),
        (b"{", "The body is not valid JSON."),
    ):
        with pytest.raises(MalformedBody) as error:
            parse_json(body)
        assert error.value.detail == detail


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5_000, "-" + "9" * 60_000])
def test_a_number_out_of_range_is_left_to_its_field(number: str) -> None:
    assert math.isinf(parse_json(f"[{number}]".encode())[0])
    with pytest.raises(InvalidInput) as error:
        parse_body(f'{{"ticket_type": 1, "quantity": {number}}}'.encode())
    assert list(error.value.errors or ()) == ["quantity"]


def test_the_last_value_of_a_repeated_name_counts() -> None:
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}
    for first in ("1", '"x"', "null"):
        body = f'{{"ticket_type": 1, "quantity": {first}, "quantity": 2}}'
        assert parse_body(body.encode()) == PurchaseInput((LineInput(1, 2),))


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ('"quantitiy": 5', {"quantitiy": ["Unknown field. Did you mean quantity?"]}),
        ('"note": "x"', {"note": ["Unknown field."]}),
        ('"Quantity": 5', {"Quantity": ["Unknown field. Did you mean quantity?"]}),
        ('"": null', {"": ["Unknown field."]}),
        (r'"\ud800": 1', {"?": ["Unknown field."]}),
    ],
)
def test_an_unknown_field_is_an_error_that_names_it(
    fields: str, errors: dict[str, list[str]]
) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_body(f'{{"ticket_type": 1, "quantity": 2, {fields}}}'.encode())
    assert error.value.errors == errors


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(InvalidInput) as error:
        parse_body(b'{"ticket_typ": 1, "quantity": 0}')
    assert (error.value.errors or {}).keys() == {"ticket_typ", "ticket_type", "quantity"}


def test_errors_of_many_or_long_names_are_bounded() -> None:
    began = time.thread_time()
    errors = unknown_names(
        (f"max_per_use{n:x}" * 2 for n in range(9_000)), ["max_per_user"], "field"
    )
    long = unknown_names(["max_per_user" * 5_000], ["max_per_user"], "field")
    assert time.thread_time() - began < 0.1
    assert len(errors) == 10
    assert [len(name) for name in long] == [40]


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        (b"wait=5", {}),
        (b"&&", {}),
        (b"wiat=20", {"wiat": ["Unknown query parameter. Did you mean wait?"]}),
        (b"wait=1&wait=2", {"wait": ["Send this parameter once."]}),
        (b"wait", {}),
        (b"=1", {"": ["Unknown query parameter."]}),
        (b"%77ait=1", {}),
        (b"w%00ait=1&x", {"w\0ait": None, "x": None}),
        *((query, {"query": None}) for query in (b"%ff=1", b"wait=%ed%a0%80", b"wait=%c3")),
        (b"wait=1&" * 101, {"query": None}),
        (b"a&" * 30_000, {"query": None}),
    ],
)
def test_a_query_has_known_parameters_once(query: bytes, errors: dict[str, object]) -> None:
    found = query_errors(query, ("wait",))
    assert found.keys() == errors.keys()
    assert all(errors[name] in (None, found[name]) for name in errors)
