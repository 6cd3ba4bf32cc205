"""A check of our own: data that fits its schema is refused only by rules that no schema tells."""

import re
from collections.abc import Mapping
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

# The fields, or the codes, that an operation may refuse although they fit.
EVENT_RULES = {
    "end_time",  # after the start
    *("title", "description"),  # with something to read: no pattern knows Unicode's categories
    "payment_url",  # which a browser opens
}
TICKET_TYPE_RULES = {
    "name",  # as a title
    "event",  # which has to be there
    "sales_end",  # after the start
    "capacity",  # with what is sold already, no more than can be counted
}
OTHER_LISTS = (
    *("events.list", "ticket_types.list", "api_keys.list", "audits.list"),
    *("webhooks.list", "webhooks.list_deliveries"),
)
RULES: Mapping[str, set[str]] = {
    "accounts.create": {
        "username",
        "password",
    },  # which characters are letters; taken; easily guessed
    "accounts.update": {"current_password"},  # which is the account's
    "accounts.change_password": {"current_password", "new_password"},  # as at registration
    "accounts.delete": {"current_password"},
    "api_keys.create": {"name", "expires_at"},  # as a title; in the future
    # https and a public host; of the same owner; no further than the ledger.
    "webhooks.create": {"url", "event"},
    "webhooks.update": {"url"},
    "webhooks.rewind": {"after", "event"},
    "events.create": EVENT_RULES,
    "events.replace": EVENT_RULES,
    "events.update": EVENT_RULES,
    "events.set_notice": {"text"},  # as a description
    "ticket_types.create": TICKET_TYPE_RULES,
    "ticket_types.replace": TICKET_TYPE_RULES,
    "ticket_types.update": TICKET_TYPE_RULES,
    "ticket_types.change_capacity": {"change"},  # no more than is left
    "purchases.create": {
        # Which has to be there, once and of the same event as the others; and its own limit.
        *("ticket_type", "quantity"),
        "buyer",  # with an API key only
        *("not_enough_tickets", "over_user_limit"),
        *("sale_not_open", "sale_closed", "sale_paused", "all_held"),
    },
    # Of characters that print; these go with an `event`, or without one.
    "purchases.list": {"buyer", "payment_reference", "cursor", "page"},
    # Only as `next` has it.
    **{operation: {"cursor"} for operation in OTHER_LISTS},
    # Which are the purchase's; a reference or note with something to read.
    "purchases.confirm": {"amount", "currency", "payment_reference"},
    "purchases.cancel": {"items", "ticket_type", "note"},
}


@schemathesis.check
def refused_by_a_rule_beyond_the_schema(
    _context: CheckContext, response: Response, case: Case
) -> None:
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code == 400:
        problem = response.json()
        reported = set(problem.get("errors", [problem["code"]]))
        # JSON Schema calls 2.0 an integer; the contract does not.
        reported = {field for field in reported if not isinstance(_sent(case.body, field), float)}
        operation_id = case.operation.definition.raw["operationId"]
        fields = {re.sub(r"^items\.\d+\.", "", field) for field in reported}
        unexplained = fields - RULES.get(operation_id, set())
        assert not unexplained, f"valid data was refused: {problem}"


def _sent(body: Any, field: str) -> Any:
    """The value of a field such as `items.0.quantity`; None: there is none."""
    for part in field.split("."):
        if isinstance(body, list) and part.isdigit() and int(part) < len(body):
            body = body[int(part)]
        else:
            body = body.get(part) if isinstance(body, dict) else None
    return body
