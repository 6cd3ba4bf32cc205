"""A signed-in attacker, and the check of every answer."""

from collections.abc import Iterable
from itertools import cycle

from tests.support.wire import Answer, Wire
from tests.system.conftest import Shop
from tests.system.hostile.target import Target

PURCHASES = "/api/ticket-purchases/"
# The event's owner may do all of these.
RESOLUTIONS = ("/confirm/", "/release/", "/cancel/")
# Parts of stack traces and SQL, which no answer may contain.
INSIDE = ("Traceback", 'File "', "psycopg", "sqlalchemy", "SELECT ", "INSERT ", "pydantic")
# They take turns, so that none of them meets the rate limit of purchases.
BUYERS = 12


class Attacker:
    """Signed in as the user who may do what is tried."""

    def __init__(self, shop: Shop, target: Target) -> None:
        self.wire = Wire(shop.url)
        self._organiser = target.organiser.headers["Authorization"]
        self._buyer = target.buyer.headers["Authorization"]
        self._others = cycle(user.headers["Authorization"] for user in shop.users(BUYERS))

    def request(
        self,
        method: str,
        address: str,
        headers: Iterable[str | bytes] = (),
        body: bytes | None = None,
    ) -> Answer:
        lines = [f"Authorization: {self._who_may(method, address)}", *headers]
        return self.wire.request(method, address, lines, body)

    def _who_may(self, method: str, address: str) -> str:
        if not address.startswith(PURCHASES) or address.endswith(RESOLUTIONS):
            return self._organiser
        return next(self._others) if method == "POST" else self._buyer


def check(answer: Answer, *what: object) -> None:
    """It is not a crash, and an error is a problem document without internals."""
    assert answer.status < 500, (what, answer)
    if answer.status >= 400:
        assert answer.is_problem, (what, answer)
        assert answer.headers["x-request-id"], (what, answer)
    assert not any(word in answer.body.decode(errors="replace") for word in INSIDE), (what, answer)
