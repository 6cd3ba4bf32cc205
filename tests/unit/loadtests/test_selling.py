"""What buyers of a load test want."""

from random import Random

import msgspec

from gateway.purchases.request_body import parse_body
from loadtests.answers import Line
from loadtests.selling import choose, purchase_body

BUYERS = 2_000


def test_a_tenth_of_the_buyers_want_a_cart_of_two_or_three_ticket_types() -> None:
    chance = Random(1)
    purchases = [choose([1, 2, 3], chance) for _ in range(BUYERS)]
    carts = [lines for lines in purchases if len(lines) > 1]
    assert 0.08 * BUYERS < len(carts) < 0.12 * BUYERS
    assert {len(lines) for lines in carts} == {2, 3}
    assert all(len({line.ticket_type for line in lines}) == len(lines) for lines in purchases)


def test_of_one_ticket_type_nobody_wants_a_cart() -> None:
    chance = Random(1)
    assert {len(choose([1], chance)) for _ in range(BUYERS)} == {1}


def test_the_gateway_reads_what_buyers_send() -> None:
    for lines in ([Line(7, 2)], [Line(7, 2), Line(8, 1)]):
        parsed = parse_body(purchase_body(lines)).lines
        assert [(line.ticket_type, line.quantity) for line in parsed] == [
            (line.ticket_type, line.quantity) for line in lines
        ]
    assert msgspec.json.decode(purchase_body([Line(7, 2)])) == {"ticket_type": 7, "quantity": 2}
