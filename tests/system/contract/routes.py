"""The routes of the contract, and with which methods each is answered."""

from tests.system.selling import EVENTS, PURCHASES, TICKET_TYPES

# An id without a row, for requests whose answer does not depend on the row.
UNKNOWN_PURCHASE = "01a20375-b093-70f7-9ffe-a62a46181fc4"

OPEN: dict[str, set[str]] = {
    "/api/users/": {"POST"},
    "/api/token/": {"POST"},
    "/api/token/refresh/": {"POST"},
    "/api/token/verify/": {"POST"},
    "/api/token/blacklist/": {"POST"},
    "/.well-known/jwks.json": {"GET"},
    "/api/schema/": {"GET"},
    "/api/docs/": {"GET"},
    "/api/sales/": {"GET"},
    "/api/sales/1/": {"GET"},
    "/healthz": {"GET"},
    "/readyz": {"GET"},
    "/metrics": {"GET"},
}
FOR_USERS: dict[str, set[str]] = {
    "/api/users/me/": {"GET", "PATCH"},
    "/api/users/me/password/": {"POST"},
    "/api/users/me/delete/": {"POST"},
    "/api/keys/": {"GET", "POST"},
    "/api/keys/1/": {"DELETE"},
    "/api/webhooks/": {"GET", "POST"},
    "/api/webhooks/1/": {"GET", "PATCH", "DELETE"},
    "/api/webhooks/1/rotate-secret/": {"POST"},
    "/api/webhooks/1/test/": {"POST"},
    "/api/webhooks/1/rewind/": {"POST"},
    "/api/webhooks/1/deliveries/": {"GET"},
    EVENTS: {"GET", "POST"},
    f"{EVENTS}1/": {"GET", "PUT", "PATCH", "DELETE"},
    f"{EVENTS}1/notice/": {"PUT"},
    TICKET_TYPES: {"GET", "POST"},
    f"{TICKET_TYPES}1/": {"GET", "PUT", "PATCH", "DELETE"},
    f"{TICKET_TYPES}1/capacity/": {"POST"},
    f"{TICKET_TYPES}1/pause/": {"POST"},
    f"{TICKET_TYPES}1/resume/": {"POST"},
    PURCHASES: {"GET", "POST"},
    f"{PURCHASES}{UNKNOWN_PURCHASE}/": {"GET"},
    f"{PURCHASES}{UNKNOWN_PURCHASE}/events/": {"GET"},
    f"{PURCHASES}{UNKNOWN_PURCHASE}/confirm/": {"POST"},
    f"{PURCHASES}{UNKNOWN_PURCHASE}/release/": {"POST"},
    f"{PURCHASES}{UNKNOWN_PURCHASE}/cancel/": {"POST"},
    f"{EVENTS}1/extend-holds/": {"POST"},
    f"{EVENTS}1/ledger/": {"GET"},
    f"{EVENTS}1/ledger/ndjson/": {"GET"},
    f"{EVENTS}1/ledger/csv/": {"GET"},
    f"{EVENTS}1/live/": {"GET"},
    f"{EVENTS}1/live/events/": {"GET"},
    f"{EVENTS}1/live/history/": {"GET"},
    f"{EVENTS}1/audits/": {"GET", "POST"},
    f"{EVENTS}1/audits/1/": {"GET"},
}
ROUTES = OPEN | FOR_USERS
# They take no fields.
WITHOUT_BODY = {
    f"{PURCHASES}1/release/",
    *(f"{TICKET_TYPES}1/{action}/" for action in ("pause", "resume")),
    f"{EVENTS}1/audits/",
    *(f"/api/webhooks/1/{action}/" for action in ("rotate-secret", "test")),
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
