"""Buyers: one purchase after the other, each followed until its outcome is known."""

import random
import time
from uuid import uuid4

import msgspec
from locust import tag, task

from loadtests import figures, observations, rehearsal
from loadtests.answers import Answer, Meaning
from loadtests.users.shopper import WAIT_SECONDS, Shopper

PURCHASES = "/api/ticket-purchases/"
# How long a buyer stays for an outcome; the system's own waits are far below.
PATIENCE_SECONDS = 60.0
# Where an answer does not say when to come back.
PAUSE_SECONDS = 1.0
# How many tickets a buyer wants: mostly one or two, as at any concert. A choice of ours.
QUANTITIES = {1: 50, 2: 30, 3: 12, 4: 8}


def wish() -> str:
    """The body of one purchase."""
    (quantity,) = random.choices(list(QUANTITIES), list(QUANTITIES.values()))  # noqa: S311
    body = {"ticket_type": rehearsal.ticket_type_id(), "quantity": quantity}
    return msgspec.json.encode(body).decode()


class Buyer(Shopper):
    """Buys every 5 s, so 100 buyers are 20 purchases/s.

    Of those, two in ten wait within the POST, five follow by long-poll (one GET each) and three
    poll as `Retry-After` says (one GET each while the queue is short): 100 buyers are about
    20 POST/s and 16 GET/s.
    """

    weight = 8

    @tag("buy", "prefer")
    @task(2)
    def wait_within_the_post(self) -> None:
        self._buy(long_poll=True, Prefer=f"wait={WAIT_SECONDS}")

    @tag("buy", "long-poll")
    @task(5)
    def follow_by_long_poll(self) -> None:
        self._buy(long_poll=True)

    @tag("buy", "poll")
    @task(3)
    def poll_as_told(self) -> None:
        self._buy(long_poll=False)

    def _buy(self, *, long_poll: bool, **headers: str) -> None:
        meant_at = self.schedule.take()
        deadline = time.monotonic() + PATIENCE_SECONDS
        headers["Idempotency-Key"] = f'"{uuid4()}"'
        answer = self._place(wish(), headers, deadline)
        purchase_id, polls = answer.purchase_id, 0
        if purchase_id is None:
            return
        if answer.meaning is Meaning.QUEUED:
            self._record(figures.REQUEST_TO_202, meant_at)
            observations.accepted(purchase_id)
            answer, polls = self._follow(purchase_id, answer, deadline, long_poll=long_poll)
        if answer.meaning is Meaning.DECIDED:
            self._record(figures.REQUEST_TO_DECISION, meant_at)
            figures.record(self.environment.stats, figures.POLLS_PER_PURCHASE, polls)
            observations.outcome(purchase_id, answer.body)
        else:
            figures.record_undecided(self.environment.stats, PATIENCE_SECONDS)

    def _place(self, body: str, headers: dict[str, str], deadline: float) -> Answer:
        """Ask until it is not told to come back; always with the same key."""
        while True:
            answer = self.ask("POST", PURCHASES, PURCHASES, body, **headers)
            if answer.meaning is not Meaning.COME_BACK or time.monotonic() > deadline:
                return answer
            time.sleep(answer.retry_after_seconds or PAUSE_SECONDS)

    def _follow(
        self, purchase_id: str, answer: Answer, deadline: float, *, long_poll: bool
    ) -> tuple[Answer, int]:
        """Ask for the outcome until it is there; returns the last answer, and their number."""
        path = f"{PURCHASES}{purchase_id}/" + (f"?wait={WAIT_SECONDS}" if long_poll else "")
        name = f"{PURCHASES}[id]/" + ("?wait" if long_poll else "")
        polls = 0
        while answer.meaning is not Meaning.DECIDED and time.monotonic() < deadline:
            if polls or not long_poll:
                time.sleep(answer.retry_after_seconds or PAUSE_SECONDS)
            answer = self.ask("GET", path, name)
            polls += 1
        return answer, polls

    def _record(self, name: str, meant_at: float) -> None:
        figures.record(self.environment.stats, name, 1000 * (time.monotonic() - meant_at))
