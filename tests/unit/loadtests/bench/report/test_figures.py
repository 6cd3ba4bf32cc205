"""What the benchmark makes of its measurements."""

from itertools import islice, pairwise

import msgspec
import pytest

from loadtests.answers import ClientResponse
from loadtests.bench.load.latency import latency
from loadtests.bench.load.loops import intended_moments
from loadtests.bench.load.requests import buying, reading
from loadtests.bench.load.tally import Tally
from loadtests.bench.report.figures import Figure, Target, at_least, at_most, percent_figure, ratios

RATE = Figure(name="x_per_second", label="x", unit="/s", values=[30.0, 10.0, 20.0])


def test_rounds_are_compared_one_by_one() -> None:
    # The machine was half as fast in the second round: the ratio does not tell of it.
    assert ratios([30.0, 15.0], [10.0, 5.0]) == [3.0, 3.0]
    assert percent_figure("x_percent", "x", [5.0], [10.0]).values == [50.0]


def test_the_median_is_held_against_the_target() -> None:
    def met(target: Target | None) -> bool | None:
        return msgspec.structs.replace(RATE, target=target).meets_target

    assert RATE.median == 20
    assert met(at_least(20)) is met(at_most(20)) is True
    assert met(at_least(21)) is met(at_most(19)) is False
    assert met(None) is None


def test_percentiles_are_of_every_latency_to_three_digits() -> None:
    found = latency(n / 1000 for n in range(1, 10_001))
    assert found.p50_ms == pytest.approx(5_000, rel=0.001)
    assert found.p99_ms == pytest.approx(9_900, rel=0.001)
    assert found.p999_ms == pytest.approx(9_990, rel=0.001)
    assert found.longest_ms == pytest.approx(10_000, rel=0.001)


def test_unexpected_answers_are_reported_and_counted() -> None:
    tally = Tally(frozenset({202}))
    for status, body in ((202, b"ok"), (503, b"away"), (503, b"again")):
        tally.answer(ClientResponse(status, {}, body), 0.0, 0.0)
    run = tally.run(began_at=0.0, seconds=2.0, cpu_seconds=0.5)
    assert run.answers == {202: 1, 503: 2}
    assert run.errors == ["2 times status 503, first: away"]
    assert (run.answers_per_second, run.generator_cpu_share) == (1.5, 0.25)


def test_each_purchase_has_the_next_token_and_ticket_type_and_a_key_of_its_own() -> None:
    def reported(request: bytes, name: bytes) -> bytes:
        return request.partition(name)[2][:1]

    requests = list(islice(buying([1, 2], ["a", "b", "c"], key_prefix="k").requests(), 6))
    assert [reported(r, b"Bearer ") + reported(r, b'ticket_type": ') for r in requests] == [
        *(b"a1", b"b2", b"c1", b"a2", b"b1", b"c2")
    ]
    keys = {line for r in requests for line in r.split(b"\r\n") if line.startswith(b"Idem")}
    assert keys == {b'Idempotency-Key: "k-%d"' % n for n in range(1, 7)}


def test_a_reading_has_no_body_and_its_owners_token() -> None:
    requests = reading(["/mine/", "/yours/"], ["me", "you"]).requests()
    assert list(islice(requests, 2)) == [
        b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n\r\n" % pair
        for pair in ((b"/mine/", b"me"), (b"/yours/", b"you"))
    ]


def test_buyers_come_at_the_rate_that_was_asked_for() -> None:
    moments = intended_moments(1_000, 10.0, seed=1)
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    assert all(earlier <= later for earlier, later in pairwise([0.0, *moments, 10.0]))
    assert moments == intended_moments(1_000, 10.0, seed=1)
