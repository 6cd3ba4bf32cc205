"""What a buyer's answers become in the figures of a sale."""

import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import jwt
import msgspec
import pytest
from locust.stats import RequestStats

from loadtests.answers import ClientResponse
from loadtests.recording import figures
from loadtests.recording.timeline import answers
from loadtests.rehearsal import assignment
from loadtests.rehearsal.assignment import Payments, Rehearsal
from loadtests.rehearsal.schedule import Schedule
from loadtests.users import newcomer, purchaser, retrier, shopper
from loadtests.users.newcomer import Newcomer
from loadtests.users.purchaser import Purchaser
from loadtests.users.retrier import Retrier

STAYED_MS = round(1000 * figures.OUTCOME_TIMEOUT_SECONDS)
WAITED, POLLED = figures.REQUEST_TO_DECISION, figures.REQUEST_TO_DECISION_POLLED
# What a buyer does, and whether that is to wait for the decision.
WAYS: list[tuple[Callable[[Purchaser], None], bool]] = [
    (lambda buyer: buyer.buy(prefer_wait=True, long_poll=True), True),
    (lambda buyer: buyer.buy(long_poll=True), True),
    (lambda buyer: buyer.buy(), False),
    (lambda buyer: buyer.insist(), False),  # type: ignore[attr-defined]
]


class Clock:
    """Time passes only in sleeps."""

    now = 1_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (newcomer, purchaser, retrier, shopper):
        monkeypatch.setattr(module, "time", clock)
    assignment.take_part(Rehearsal([1], ["token"], 1, Payments("key", abandoned=0.0)), 0)
    return clock


def answer(http_status: int, retry_after: int | None = None, **body: object) -> ClientResponse:
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return ClientResponse(http_status, headers, msgspec.json.encode(body))


PAUSED = answer(400, 34, status=400, code="sale_paused")
REFUSED = answer(503, 5, status=503, code="unavailable")
QUEUED = answer(202, 1, id="p-1", status="queued")
CONFIRMED = answer(200, id="p-1", status="confirmed")
HELD = answer(200, id="p-1", status="held")


class Scripted(Retrier, Newcomer):
    """Answered by script, the last one again and again."""

    abstract = True

    def __init__(self, clock: Clock, answers: Sequence[ClientResponse]) -> None:
        self.environment = SimpleNamespace(stats=RequestStats())
        self.schedule = Schedule(clock.now, 5.0, random.Random(1))
        self.asked: list[str] = []
        clock.now += self.schedule.seconds_until_next(clock.now)
        self._answers = iter(answers)

    def ask(
        self, method: str, path: str, name: str, body: str | None = None, **headers: str
    ) -> ClientResponse:
        self.asked.append(path)
        self._last = next(self._answers, None) or self._last
        return self._last

    @property
    def stats(self) -> RequestStats:
        return self.environment.stats


@pytest.mark.parametrize("told", [REFUSED, PAUSED], ids=["unavailable", "paused"])
@pytest.mark.parametrize(("way", "waits"), WAYS)
def test_who_is_told_to_come_again_until_he_leaves_gave_up(
    way: Callable[[Purchaser], None], waits: bool, told: ClientResponse, clock: Clock
) -> None:
    buyer = Scripted(clock, [told])
    way(buyer)
    assert answers(buyer.stats).gave_up == 1
    assert buyer.stats.total.num_failures == 0  # a 503 with Retry-After is none
    assert figures.waits(buyer.stats, WAITED) == ({STAYED_MS: 1} if waits else {})


@pytest.mark.parametrize(("way", "waits"), WAYS)
def test_who_is_limited_until_he_leaves_is_as_it_should_be(
    way: Callable[[Purchaser], None], waits: bool, clock: Clock
) -> None:
    buyer = Scripted(clock, [answer(429, 3_600, code="too_many_expired_holds")])
    way(buyer)
    counts = answers(buyer.stats)
    assert (counts.gave_up, counts.undecided) == (0, 0)
    assert figures.waits(buyer.stats, WAITED) == {}


@pytest.mark.parametrize("last", [QUEUED, REFUSED], ids=["queued", "refused"])
@pytest.mark.parametrize(("way", "waits"), WAYS)
def test_a_purchase_that_is_never_decided_took_as_long_as_its_buyer_stayed(
    way: Callable[[Purchaser], None], waits: bool, last: ClientResponse, clock: Clock
) -> None:
    buyer = Scripted(clock, [QUEUED, last])
    way(buyer)
    counts = answers(buyer.stats)
    assert (counts.undecided, counts.gave_up) == (1, 0)
    assert figures.waits(buyer.stats, WAITED) == ({STAYED_MS: 1} if waits else {})


@pytest.mark.parametrize(("way", "waits"), WAYS)
def test_a_decision_is_counted_once(
    way: Callable[[Purchaser], None], waits: bool, clock: Clock
) -> None:
    buyer = Scripted(clock, [QUEUED, CONFIRMED])
    way(buyer)
    assert answers(buyer.stats).confirmed == 1
    counts = [buyer.stats.get(name, figures.SALE).num_requests for name in (WAITED, POLLED)]
    assert counts == [waits, not waits]


def test_a_payment_takes_the_buyers_own_time_and_makes_no_purchase_late(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purchaser, "PAYING_SECONDS", (100.0, 100.0))
    buyer = Scripted(clock, [HELD, CONFIRMED])
    buyer.buy(prefer_wait=True)
    assert buyer.stats.get(figures.PAYMENT_TO_CONFIRMED, figures.SALE).num_requests == 1
    assert buyer.schedule.take() == pytest.approx(clock.now, abs=1.0)


@pytest.mark.parametrize(("left_seconds", "renews"), [(30, True), (300, False)])
def test_a_newcomer_signs_in_again_before_its_token_ends(
    left_seconds: int, renews: bool, clock: Clock
) -> None:
    def pair(left: int) -> ClientResponse:
        key = "a-key-that-nobody-verifies-with-but-long"
        return answer(200, access=jwt.encode({"exp": clock.now + left}, key))

    buyer = Scripted(clock, [answer(201, id=1), pair(left_seconds), pair(3_600)])
    buyer.token = first = buyer.sign_in()
    if not renews:
        buyer._answers = iter([CONFIRMED])
    buyer.follow_by_long_poll()
    assert (buyer.token != first) is renews
    assert buyer.asked[:2] == ["/api/users/", "/api/token/"]
    assert buyer.asked.count("/api/token/") == 1 + renews
