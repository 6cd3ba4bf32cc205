"""Which values of an Idempotency-Key are one key, and which are none; what it stands for."""

import pytest

from gateway.purchases.idempotency_key import fingerprint, parse_idempotency_key
from gateway.purchases.request_body import LineInput, PurchaseInput, parse_body
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


def test_one_line_has_the_same_fingerprint_in_both_forms_for_ever() -> None:
    for body in (
        b'{"ticket_type": 1, "quantity": 2}',
        b'{"items": [{"quantity": 2, "ticket_type": 1}]}',
    ):
        # Stored with every key since the first release.
        assert fingerprint(parse_body(body)).hex() == "4a88f5ccf47e4c5013c8f622229cd1ef"


def test_every_difference_of_lines_gives_another_fingerprint() -> None:
    lines = [
        *([(1, 2)], [(1, 2), (3, 4)], [(3, 4), (1, 2)], [(1, 2), (3, 5)], [(12, 3), (4, 5)]),
        *([(1, 2), (34, 5)], [(1, 2), (3, 4), (5, 6)]),
    ]
    carts = (
        PurchaseInput(tuple(LineInput(ticket_type, quantity) for ticket_type, quantity in cart))
        for cart in lines
    )
    assert len({fingerprint(cart) for cart in carts}) == len(lines)
