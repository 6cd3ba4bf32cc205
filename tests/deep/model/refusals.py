"""Errors of the contract, which the models raise."""

from collections.abc import Mapping, Sequence

# Each code with the HTTP status that it comes with.
STATUS = {
    "invalid": 400,
    "not_enough_tickets": 400,
    "over_user_limit": 400,
    "sale_not_open": 400,
    "sale_closed": 400,
    "sale_paused": 400,
    "invalid_credentials": 401,
    "token_not_valid": 401,
    "permission_denied": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "precondition_failed": 412,
    "idempotency_key_reused": 422,
    "precondition_required": 428,
}


class Refusal(Exception):
    """An error with this code, which names exactly these fields, and what was short."""

    def __init__(
        self, code: str, *fields: str, short: Sequence[Mapping[str, int]] | None = None
    ) -> None:
        super().__init__(code, *fields)
        self.code = code
        self.status = STATUS[code]
        self.fields = set(fields)
        self.short = short
