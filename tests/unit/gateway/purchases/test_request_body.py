"""What a purchase request may be: one line, or a list of them."""

import json
import time

import pytest
from msgspec.structs import replace

from gateway.purchases.request_body import LineInput, PurchaseInput, fingerprint, parse_body
from shared.errors import InvalidInput, MalformedBody
from shared.row_ids import MAX_ID

REQUIRED = ["This is required."]
NO_INTEGER = ["Must be a whole number."]
ONE_FORM = ["Send either items, or ticket_type and quantity."]


def line(ticket_type: object, quantity: object = 1) -> str:
    return f'{{"ticket_type": {ticket_type}, "quantity": {quantity}}}'


def cart(*lines: str) -> bytes:
    return f'{{"items": [{", ".join(lines)}]}}'.encode()


def errors_of(body: bytes) -> dict[str, list[str]]:
    with pytest.raises(InvalidInput) as refusal:
        parse_body(body)
    errors = refusal.value.errors or {}
    return {field: list(messages) for field, messages in errors.items()}


def test_one_line_is_the_same_purchase_in_both_forms() -> None:
    lines = (LineInput(1, 2),)
    assert parse_body(line(1, 2).encode()) == PurchaseInput(lines)
    assert parse_body(cart(line(1, 2))) == PurchaseInput(lines, as_items=True)


@pytest.mark.parametrize("numbers", [range(1, 11), range(10, 0, -1), [MAX_ID, 1]])
def test_lines_keep_their_order(numbers: list[int]) -> None:
    parsed = parse_body(cart(*(line(number, number % 7 + 1) for number in numbers)))
    assert parsed.lines == tuple(LineInput(number, number % 7 + 1) for number in numbers)


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ("{}", {"ticket_type": REQUIRED, "quantity": REQUIRED}),
        ('{"quantity": 1, "items": [{"ticket_type": 1, "quantity": 1}]}', {"items": ONE_FORM}),
        ('{"ticket_type": null, "quantity": 0, "items": 5}', {"items": ONE_FORM}),
        ('{"items": []}', {"items": ["Must have at least 1 item."]}),
        *(
            (f'{{"items": {value}}}', {"items": ["Must be a list."]})
            for value in ("null", "{}", "1", '"ab"', "true", "1e999")
        ),
        (
            '{"items": [], "itmes": 1}',
            {
                "itmes": ["Unknown field. Did you mean items?"],
                "items": ["Must have at least 1 item."],
            },
        ),
        (
            '{"itmes": []}',
            {
                "itmes": ["Unknown field. Did you mean items?"],
                "ticket_type": REQUIRED,
                "quantity": REQUIRED,
            },
        ),
    ],
)
def test_the_form_is_checked_first(body: str, errors: dict[str, list[str]]) -> None:
    assert errors_of(body.encode()) == errors


def test_a_cart_has_at_most_ten_lines() -> None:
    eleven = cart(*(line(number) for number in range(1, 12)))
    assert errors_of(eleven) == {"items": ["Must have at most 10 items."]}


def test_all_errors_of_all_lines_are_reported_at_once() -> None:
    body = cart(
        '{"ticket_type": 1, "quantity": 0, "qantity": 1}',
        line(2, '"2"'),
        "[]",
        '{"quantity": 2147483648}',
        line(2, 1),
        line(MAX_ID + 1, "9" * 5_000),
        line("true", 1.5),
        line(8),
    )
    assert errors_of(body) == {
        "items.0.qantity": ["Unknown field. Did you mean quantity?"],
        "items.0.quantity": ["Must be at least 1."],
        "items.1.quantity": NO_INTEGER,
        "items.2": ["Must be a JSON object."],
        "items.3.ticket_type": REQUIRED,
        "items.3.quantity": ["Must be at most 2147483647."],
        "items.4.ticket_type": ["An earlier line has this ticket type."],
        "items.5.ticket_type": [f"Must be at most {MAX_ID}."],
        "items.5.quantity": NO_INTEGER,
        "items.6.ticket_type": NO_INTEGER,
        "items.6.quantity": NO_INTEGER,
    }


def test_each_ticket_type_stands_in_one_line() -> None:
    twice = ["An earlier line has this ticket type."]
    found = errors_of(cart(line(1), line(2), line(1, 3), line(2), line(1)))
    assert found == {f"items.{number}.ticket_type": twice for number in (2, 3, 4)}


def test_of_a_repeated_name_the_last_value_counts() -> None:
    body = b'{"items": 5, "items": [{"ticket_type": 1, "quantity": "x", "quantity": 2}]}'
    assert parse_body(body) == PurchaseInput((LineInput(1, 2),), as_items=True)


@pytest.mark.parametrize(
    "body",
    [
        cart(*[line(1)] * 1_700),
        cart(*["{" + ",".join(f'"ticket_typ{n:x}":1' for n in range(300)) + "}"] * 10),
        b'{"items": ' + b"[" * 60_000,
        cart(line("9" * 60_000)),
        cart(*["{}"] * 10_000),
    ],
    ids=["lines", "names", "nested", "digits", "empty"],
)
def test_a_hostile_cart_is_refused_cheaply(body: bytes) -> None:
    began = time.thread_time()
    with pytest.raises((InvalidInput, MalformedBody)) as refusal:
        parse_body(body)
    assert time.thread_time() - began < 0.1
    assert len(refusal.value.errors or ()) <= 120


@pytest.mark.parametrize("buyer", ["a", "x" * 255, "Zoë Ω, 7 rue de l'Étoile"])
def test_a_purchase_may_name_its_buyer(buyer: str) -> None:
    line = {"ticket_type": 1, "quantity": 2}
    for body in (line, {"items": [line]}):
        wanted = parse_body(json.dumps(body | {"buyer": buyer}).encode())
        assert wanted == replace(parse_body(json.dumps(body).encode()), buyer=buyer)


@pytest.mark.parametrize("buyer", ["", "x" * 256, "a\nb", "a\0", "\ud800", None, 7, ["a"]])
def test_a_buyer_that_is_no_printable_text_is_refused_by_name(buyer: object) -> None:
    line = {"ticket_type": 1, "quantity": 2}
    for body in (line, {"items": [line]}):
        with pytest.raises(InvalidInput) as refused:
            parse_body(json.dumps(body | {"buyer": buyer}).encode())
        assert list(refused.value.errors or ()) == ["buyer"]


def test_a_line_of_a_cart_names_no_buyer() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_body(b'{"items": [{"ticket_type": 1, "quantity": 2, "buyer": "a"}]}')
    assert list(refused.value.errors or ()) == ["items.0.buyer"]


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
