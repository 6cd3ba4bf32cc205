"""What buyers saw is kept line by line until somebody takes it."""

from collections.abc import Iterator

import msgspec
import pytest

from loadtests.recording import observations
from loadtests.recording.observations import Seen

IDS = ["01a20548-3029-758b-9b2a-90a859a50985", "01a20548-304d-7018-84e8-9a733185c0f8"]


@pytest.fixture(autouse=True)
def nothing_seen_yet() -> Iterator[None]:
    observations.take()
    yield
    observations.take()


def taken() -> list[Seen]:
    return [msgspec.json.decode(line, type=Seen) for line in observations.take().splitlines()]


def test_what_was_seen_is_taken_once_in_its_order() -> None:
    observations.accepted(IDS[0])
    observations.outcome(
        IDS[1], b'{"id": "%s", "status": "rejected", "reason": "x"}' % IDS[1].encode()
    )
    assert taken() == [
        Seen(id=IDS[0], status="accepted"),
        Seen(id=IDS[1], status="rejected", reason="x"),
    ]
    assert taken() == []


def test_an_answer_that_names_no_purchase_is_kept_as_being_about_none() -> None:
    observations.outcome(IDS[0], b'{"status": "confirmed"}')
    (seen,) = taken()
    assert seen.answered_id == "no purchase"


def test_a_body_that_is_no_purchase_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        observations.outcome(IDS[0], b"<html>")
