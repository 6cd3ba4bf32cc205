"""Users that buy: they ask, wait for the outcome, and measure from when they meant to ask."""

import random
import time
from uuid import uuid4

import msgspec

from loadtests.answers import AnswerBody, ClientResponse, Meaning
from loadtests.recording import figures, observations
from loadtests.recording.figures import OUTCOME_TIMEOUT_SECONDS
from loadtests.rehearsal import assignment
from loadtests.selling import PURCHASES, choose, purchase_body
from loadtests.users.shopper import Shopper
from shared.purchases import HELD

# How a purchase and its long-poll are named in Locust's statistics.
ONE_PURCHASE = f"{PURCHASES}[id]/"
# For which an answer is held open: a choice of ours, within the 30 s that a gateway allows.
WAIT_SECONDS = 20
# For which a buyer is at the payment provider, and which share of those who abandon says so. Ours.
PAYING_SECONDS = (0.5, 3.0)
RELEASED = 0.5
# Where an answer has no `Retry-After`.
PAUSE_SECONDS = 1.0


_chance = random.Random()  # noqa: S311 - who wants what is no secret


def any_purchase() -> str:
    """The body of a purchase: of one ticket type, or in a tenth of all a cart."""
    return purchase_body(choose(assignment.ticket_types(), _chance)).decode()


def pause(answer: ClientResponse, deadline: float) -> bool:
    """Wait as `Retry-After` says; False, at once, if the time is over by then."""
    seconds = answer.retry_after_seconds or PAUSE_SECONDS
    if time.monotonic() + seconds > deadline:
        return False
    time.sleep(seconds)
    return True


def _request_to(answer: ClientResponse) -> str:
    if answer.is_confirmed:
        return figures.REQUEST_TO_CONFIRMED
    purchase = answer.read()
    is_held = purchase is not None and purchase.status == HELD
    return figures.REQUEST_TO_HELD if is_held else figures.REQUEST_TO_REJECTED


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
        waits = prefer_wait or long_poll
        figure = figures.REQUEST_TO_DECISION if waits else figures.REQUEST_TO_DECISION_POLLED
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
            self.record_if_given_up(answer, meant_at, figure)
            return
        if answer.meaning is Meaning.QUEUED:
            self.record_since(meant_at, figures.REQUEST_TO_202)
            observations.accepted(purchase_id)
            answer, polls = self._follow(purchase_id, answer, deadline, long_poll)
        if answer.meaning is Meaning.DECIDED:
            self.record_decision(answer, meant_at, figure)
            figures.record(self.environment.stats, figures.POLLS_PER_PURCHASE, polls)
            observations.outcome(purchase_id, answer.body)
            self.settle(answer)
        else:
            figures.record_undecided(self.environment.stats, figure)

    def settle(self, answer: ClientResponse) -> None:
        """Have a purchase that is held paid, or abandon it."""
        purchase = answer.read()
        if purchase is None or purchase.status != HELD:
            return
        payments = assignment.payments()
        if payments.key and _chance.random() >= payments.abandoned:
            began = time.monotonic()
            time.sleep(_chance.uniform(*PAYING_SECONDS))
            self.schedule.was_busy(began, time.monotonic())
            self._pay(purchase, payments.key)
            return
        figures.record(self.environment.stats, figures.ABANDONED, 0)
        if _chance.random() < RELEASED:
            answer = self.ask(
                "POST", f"{PURCHASES}{purchase.id}/release/", f"{ONE_PURCHASE}release/"
            )
            if answer.meaning is Meaning.DECIDED:
                observations.outcome(str(purchase.id), answer.body)

    def _pay(self, purchase: AnswerBody, key: str) -> None:
        """As the shop does: the same confirmation until its outcome is known."""
        id_, payment = str(purchase.id), f"pay_{uuid4()}"
        terms = {"amount": purchase.total_price, "currency": purchase.currency}
        body = msgspec.json.encode({"payment_reference": payment} | terms).decode()
        asked_at = time.monotonic()
        while True:
            answer = self.ask(
                *("POST", f"{PURCHASES}{id_}/confirm/", f"{ONE_PURCHASE}confirm/", body),
                Authorization=f"Bearer {key}",
            )
            if answer.meaning is Meaning.DECIDED:
                observations.outcome(id_, answer.body)
                self.record_since(asked_at, figures.PAYMENT_TO_CONFIRMED)
                return
            if answer.meaning is Meaning.HOLD_OVER:
                observations.refused(id_, payment)
                self.record_since(asked_at, figures.PAYMENT_TO_HOLD_OVER)
                return
            if not pause(answer, asked_at + OUTCOME_TIMEOUT_SECONDS):
                figures.record_undecided(self.environment.stats, figures.PAYMENT_TO_CONFIRMED)
                return

    def record_decision(self, answer: ClientResponse, meant_at: float, figure: str) -> None:
        for name in (figure, _request_to(answer)):
            self.record_since(meant_at, name)

    def record_if_given_up(self, answer: ClientResponse, meant_at: float, figure: str) -> None:
        """Told to come again until he left: but a buyer with too many expired holds is meant to get
        429."""
        if answer.status != 429 and answer.meaning is Meaning.RETRY_LATER:
            self.record_since(meant_at, figures.gave_up(figure))

    def record_since(self, meant_at: float, name: str) -> None:
        figures.record(self.environment.stats, name, 1000 * (time.monotonic() - meant_at))

    def _place(self, headers: dict[str, str], deadline: float) -> ClientResponse:
        """Ask until the answer is no `Retry-After`; always with the same key and body."""
        body = any_purchase()
        while True:
            answer = self.ask("POST", PURCHASES, PURCHASES, body, **headers)
            if answer.meaning is not Meaning.RETRY_LATER or not pause(answer, deadline):
                return answer

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
