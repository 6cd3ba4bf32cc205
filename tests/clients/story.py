"""What the story of each program in programs/ has to come to, by its report and in the database."""

import json

from tests.system.conftest import Shop

# A key of another purchase, too many for what is left, too many at once, a paused sale, no token.
ADVICE = [
    ["idempotency_key_reused", "fix the program"],
    ["not_enough_tickets", "stop"],
    ["invalid", "fix the program"],
    ["sale_paused", "retry"],
    ["token_malformed", "sign in"],
]
# Another payment, an unknown purchase, a wrong password.
OTHER_CODES = ["already_confirmed", "not_found", "invalid_credentials"]
COUNTERS = "SELECT issued, held, sold FROM counters WHERE event_id = %s ORDER BY ticket_type_id"
ENTRIES = """
    SELECT kind::text FROM ledger
    WHERE event_id = %s AND %s IN (command_id, purchase_id) ORDER BY number"""


def check_story(shop: Shop, output: str) -> None:
    report = json.loads(output)
    cart, paid = report["cart"]
    two, status, total_price = report["two"]
    assert (paid, status, total_price) == ("confirmed", "confirmed", "50.00")
    assert report["advice"] == ADVICE
    assert report["others"] == OTHER_CODES
    rejected, *bought = report["own"]
    assert bought == [two, cart]
    assert report["sold"] == report["own"]
    with shop.database() as statements:
        statements.execute(COUNTERS, (report["event"],))
        assert statements.fetchall() == [(10, 0, 3), (5, 0, 1)]
        kinds = {}
        for purchase in (cart, two, rejected):
            statements.execute(ENTRIES, (report["event"], purchase))
            kinds[purchase] = [kind for (kind,) in statements]
    assert kinds == {cart: ["held", "confirmed"], two: ["confirmed"], rejected: ["rejected"]}
