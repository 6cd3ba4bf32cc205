"""The body of a confirmation: both ways of reading it accept the same, and read the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.resolutions.schemas import PurchaseConfirm, parse, parse_confirm
from shared.errors import Problem

FIELDS = {"payment_reference": "pay_1", "amount": "62.50", "currency": "EUR"}
# What one of the two might take otherwise than the other.
NEAR = [
    "",
    " ",
    "\n",
    "\t",
    "\0",
    "\ud800",
    "\u202e",
    "\u0663",
    "é",
    '"',
    "1",
    "25.00",
    "25.",
    "EUR",
]
TEXTS = st.lists(st.sampled_from([*NEAR, "x" * 255]), max_size=3).map("".join)


def read(body: bytes) -> tuple[object, object]:
    """What each gives, or its problem."""

    def outcome(fields: Any) -> object:
        try:
            return fields()
        except Problem as problem:
            return type(problem), problem.errors

    return (
        outcome(lambda: parse_confirm(body)),
        outcome(lambda: parse(PurchaseConfirm, body).model_dump()),
    )


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*FIELDS, "other"], TEXTS | st.none())))
def test_any_fields_are_read_as_by_the_model(changes: dict[str, str | None]) -> None:
    fast, slow = read(json.dumps(FIELDS | changes).encode())
    assert fast == slow


@pytest.mark.parametrize("field", FIELDS)
@given(text=TEXTS)
def test_any_text_of_a_field_is_read_as_by_the_model(field: str, text: str) -> None:
    fast, slow = read(
        json.dumps(FIELDS | {field: text}, ensure_ascii=False).encode("utf-8", "replace")
    )
    assert fast == slow


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b"\xef\xbb\xbf{}", b"\xff", b"[" * 9_999]
)
def test_what_is_no_object_is_refused_as_by_the_model(body: bytes) -> None:
    fast, slow = read(body)
    assert fast == slow
    assert isinstance(fast, tuple)
