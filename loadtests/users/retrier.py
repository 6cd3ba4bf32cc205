"""A client on a bad line: after every answer it asks again with the same key."""

import time
from uuid import uuid4

from locust import tag, task

from loadtests.answers import ClientResponse, Meaning
from loadtests.recording import figures, observations
from loadtests.recording.figures import OUTCOME_TIMEOUT_SECONDS
from loadtests.selling import PURCHASES
from loadtests.users.purchaser import Purchaser, any_purchase, pause

# It knows an outcome no sooner than `Retry-After` lets it ask again.
FIGURE = figures.REQUEST_TO_DECISION_POLLED


class Retrier(Purchaser):
    """Buys every 5 s, and never asks but by the same POST: at least two for each purchase.

    So the one retrier is 0.4 POST/s. It repeats on every error, and until it has the outcome;
    then once more, as if that answer had been lost. All answers must be about one purchase.
    """

    fixed_count = 1

    @tag("retry")
    @task
    def insist(self) -> None:
        meant_at = self.schedule.take()
        deadline = time.monotonic() + OUTCOME_TIMEOUT_SECONDS
        key, body = f'"{uuid4()}"', any_purchase()
        first_id = None
        while True:
            answer = self._ask_again(key, body)
            purchase_id = first_id = first_id or answer.purchase_id
            if purchase_id is not None and answer.meaning is Meaning.QUEUED:
                observations.accepted(purchase_id)
            if answer.meaning in (Meaning.DECIDED, Meaning.SOLD_OUT):
                break
            if not pause(answer, deadline):
                if first_id is None and answer.meaning is Meaning.RETRY_LATER:
                    self.record_if_given_up(answer, meant_at, FIGURE)
                else:
                    figures.record_undecided(self.environment.stats, FIGURE)
                return
        if first_id is None:
            return
        self.record_decision(answer, meant_at, FIGURE)
        observations.outcome(first_id, answer.body)
        again = self._ask_again(key, body)
        if again.meaning not in (Meaning.RETRY_LATER, Meaning.FAILED):
            observations.outcome(first_id, again.body)
        self.settle(answer)

    def _ask_again(self, key: str, body: str) -> ClientResponse:
        headers = {"Idempotency-Key": key}
        return self.ask("POST", PURCHASES, f"{PURCHASES} (same key)", body, **headers)
