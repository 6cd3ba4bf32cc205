"""What answers mean to the users of a rehearsal."""

import msgspec
import pytest

from loadtests.answers import ClientResponse, Meaning

ID = "01a203bc-a0e0-7261-b7d6-4031de569d41"


def answer(http_status: int, retry_after: str | None = None, **body: object) -> ClientResponse:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return ClientResponse(http_status, headers, msgspec.json.encode(body))


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_in_seconds_is_no_failure(status: int) -> None:
    reported = answer(status, "7", status=status, code="too_many_requests")
    assert (reported.meaning, reported.retry_after_seconds) == (Meaning.RETRY_LATER, 7.0)


@pytest.mark.parametrize("retry_after", [None, "", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_429_or_503_without_seconds_is_a_failure(status: int, retry_after: str | None) -> None:
    assert answer(status, retry_after, code="unavailable").meaning is Meaning.FAILED


def test_retry_after_makes_no_other_failure_good() -> None:
    assert answer(500, "1", code="server_error").meaning is Meaning.FAILED
    assert answer(400, "60", code="invalid").meaning is Meaning.FAILED


@pytest.mark.parametrize("code", ["sale_not_open", "sale_paused"])
def test_a_sale_that_is_paused_or_not_yet_open_is_no_failure(code: str) -> None:
    assert answer(400, "30", status=400, code=code).meaning is Meaning.RETRY_LATER
    assert answer(400, status=400, code=code).meaning is Meaning.FAILED


def test_an_accepted_purchase_is_queued() -> None:
    reported = answer(202, "1", id=ID, status="queued")
    assert (reported.meaning, reported.purchase_id) == (Meaning.QUEUED, ID)
    assert answer(200, "1", id=ID, status="queued").meaning is Meaning.QUEUED


@pytest.mark.parametrize("status", ["confirmed", "rejected"])
def test_a_purchase_that_was_read_decided_is_decided(status: str) -> None:
    assert answer(200, id=ID, status=status).meaning is Meaning.DECIDED
    assert answer(201, id=ID, status=status).meaning is Meaning.DECIDED


def test_a_rejection_names_its_purchase_and_sold_out_has_none() -> None:
    rejected = answer(400, status=400, code="not_enough_tickets", id=ID)
    sold_out = answer(400, status=400, code="not_enough_tickets")
    assert (rejected.meaning, rejected.purchase_id) == (Meaning.DECIDED, ID)
    assert (sold_out.meaning, sold_out.purchase_id) == (Meaning.SOLD_OUT, None)


def test_other_errors_are_failures() -> None:
    assert answer(400, status=400, code="invalid").meaning is Meaning.FAILED
    assert answer(401, status=401, code="not_authenticated").meaning is Meaning.FAILED
    assert answer(422, status=422, code="idempotency_key_reused").meaning is Meaning.FAILED


def test_no_answer_and_an_unreadable_one_are_failures() -> None:
    assert ClientResponse(0).meaning is Meaning.FAILED
    assert ClientResponse(200, {}, b"<html>").meaning is Meaning.FAILED
    assert ClientResponse(400, {}, b"<html>").meaning is Meaning.FAILED


def test_a_ticket_type_is_read_or_unchanged() -> None:
    read = answer(200, id=7, event=3, capacity=10)
    assert (read.meaning, read.purchase_id) == (Meaning.FINE, None)
    assert ClientResponse(304).meaning is Meaning.FINE
