"""Users that buy: they ask, wait for the outcome, and measure from when they meant to ask."""

import random
import time
from uuid import uuid4

from loadtests.answers import ClientResponse, Meaning
from loadtests.recording import figures, observations
from loadtests.rehearsal import assignment
from loadtests.selling import PURCHASES, choose, purchase_body
from loadtests.users.shopper import Shopper

# How a purchase and its long-poll are named in Locust's statistics.
ONE_PURCHASE = f"{PURCHASES}[id]/"
# For which an answer is held open: a choice of ours, within the 30 s that a gateway allows.
WAIT_SECONDS = 20
# How long a buyer stays for an outcome; the system's own waits are far below.
OUTCOME_TIMEOUT_SECONDS = 60.0
# Where an answer has no `Retry-After`.
PAUSE_SECONDS = 1.0


_chance = random.Random()  # noqa: S311 - who wants what is no secret


def any_purchase() -> str:
    """The body of a purchase: of one ticket type, or in a tenth of all a cart."""
    return purchase_body(choose(assignment.ticket_types(), _chance)).decode()


class Purchaser(Shopper):
    """Buys as its subclasses say."""

    abstract = True
    # Longer than any wait that it asks for.
    network_timeout = WAIT_SECONDS + 10.0

    def buy(self, *, prefer_wait: bool = False, long_poll: bool = False) -> None:
        """Make one purchase, and stay until its outcome is known.

        Args:
            prefer_wait: wait for the outcome within the POST.
            long_poll: else, or if that was too short, follow it by long-poll, not by polling.
        """
        meant_at = self.schedule.take()
        deadline = time.monotonic() + OUTCOME_TIMEOUT_SECONDS
        headers = {"Idempotency-Key": f'"{uuid4()}"'}
        if prefer_wait:
            headers["Prefer"] = f"wait={WAIT_SECONDS}"
        answer = self._place(headers, deadline)
        purchase_id, polls = answer.purchase_id, 0
        if answer.meaning is Meaning.SOLD_OUT:
            self.record_since(meant_at, figures.REQUEST_TO_SOLD_OUT)
        if purchase_id is None:
            return
        if answer.meaning is Meaning.QUEUED:
            self.record_since(meant_at, figures.REQUEST_TO_202)
            observations.accepted(purchase_id)
            answer, polls = self._follow(purchase_id, answer, deadline, long_poll)
        if answer.meaning is Meaning.DECIDED:
            waited = prefer_wait or long_poll
            for name in (
                figures.REQUEST_TO_DECISION if waited else figures.REQUEST_TO_DECISION_POLLED,
                figures.REQUEST_TO_CONFIRMED
                if answer.is_confirmed
                else figures.REQUEST_TO_REJECTED,
            ):
                self.record_since(meant_at, name)
            figures.record(self.environment.stats, figures.POLLS_PER_PURCHASE, polls)
            observations.outcome(purchase_id, answer.body)
        else:
            figures.record_undecided(self.environment.stats, OUTCOME_TIMEOUT_SECONDS)

    def record_since(self, meant_at: float, name: str) -> None:
        figures.record(self.environment.stats, name, 1000 * (time.monotonic() - meant_at))

    def _place(self, headers: dict[str, str], deadline: float) -> ClientResponse:
        """Ask until the answer is no `Retry-After`; always with the same key and body."""
        body = any_purchase()
        while True:
            answer = self.ask("POST", PURCHASES, PURCHASES, body, **headers)
            if answer.meaning is not Meaning.RETRY_LATER or time.monotonic() > deadline:
                return answer
            time.sleep(answer.retry_after_seconds or PAUSE_SECONDS)

    def _follow(
        self, purchase_id: str, answer: ClientResponse, deadline: float, long_poll: bool
    ) -> tuple[ClientResponse, int]:
        """Ask for the outcome until it is there; returns the last answer, and their number."""
        query = f"?wait={WAIT_SECONDS}" if long_poll else ""
        name = ONE_PURCHASE + ("?wait" if long_poll else "")
        polls = 0
        while answer.meaning is not Meaning.DECIDED and time.monotonic() < deadline:
            if polls or not long_poll:
                time.sleep(answer.retry_after_seconds or PAUSE_SECONDS)
            answer = self.ask("GET", f"{PURCHASES}{purchase_id}/{query}", name)
            polls += 1
        return answer, polls
