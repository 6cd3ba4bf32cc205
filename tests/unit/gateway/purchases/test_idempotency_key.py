"""Which values of an Idempotency-Key are one key, and which are none."""

import pytest

from gateway.purchases.idempotency_key import parse_idempotency_key
from shared.errors import InvalidInput


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("a", "a"),
        ('"a"', "a"),
        ('"a b, c;d=1"', "a b, c;d=1"),
        ("a b,c\\", "a b,c\\"),
        (r'"say \"a\", \\"', r'say "a", ' + "\\"),
        ('"' + r"\"" * 255 + '"', '"' * 255),
        ("x" * 255, "x" * 255),
        (None, None),
    ],
)
def test_a_key_may_stand_in_quotes(header: str | None, key: str | None) -> None:
    assert parse_idempotency_key(header) == key


@pytest.mark.parametrize(
    "header",
    [
        # Two lines that a proxy has joined.
        *('"a", "b"', '"a","a"', '"a", b', 'a, "b"'),
        *('"a', 'a"', 'a"b', '"a"b"', '""', '"', '"a"; p=1', 'W/"a"', r'"a\"', r'"a\b"'),
        *("", "é", "a\tb", "x" * 256, '"' + "x" * 256 + '"'),
    ],
)
def test_what_is_no_single_string_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse_idempotency_key(header)
    assert list(refusal.value.errors or ()) == ["Idempotency-Key"]
