"""Audits that owners ask for: run beside the sweeper, one event each, with a verdict in the end."""

from collections.abc import Iterator
from unittest.mock import patch

import psutil
import pytest
from sqlalchemy import Engine, text

from purchase_worker.audit.all_events import audit
from purchase_worker.audit.runner import AuditRunner
from purchase_worker.audit.verdict import verdict_of
from purchase_worker.drain import drain
from shared.config.settings import Settings
from shared.database.engine import DATABASE_UNAVAILABLE
from tests.support.factories import (
    add_ticket_type,
    event_of,
    ignore,
    queue_many,
    rows,
    run,
    scalar,
    tamper,
)
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _for_processes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", settings.database_url)


@pytest.fixture
def runner(engine: Engine) -> Iterator[AuditRunner]:
    runner = AuditRunner(engine)
    yield runner
    runner.close()


@pytest.fixture
def event(engine: Engine, settings: Settings) -> int:
    """Two of three tickets are sold."""
    ticket_type = add_ticket_type(engine, 3)
    event = event_of(engine, ticket_type)
    queue_many(engine, ticket_type, 2)
    drain(engine, [event], settings, ignore)
    return event


def ask(engine: Engine, event: int) -> int:
    id_: int = scalar(
        engine, "INSERT INTO audits (event_id) VALUES (:event) RETURNING id", event=event
    )
    return id_


def status(engine: Engine, id_: int) -> str:
    found: str = scalar(engine, "SELECT status FROM audits WHERE id = :id", id=id_)
    return found


def until(runner: AuditRunner, engine: Engine, id_: int, wanted: str) -> None:
    def is_so() -> None:
        runner.step()
        assert status(engine, id_) == wanted

    eventually(is_so, within_seconds=60)


def test_the_verdict_is_that_of_the_audit_of_this_event_alone(
    engine: Engine, settings: Settings, runner: AuditRunner, event: int
) -> None:
    other = event_of(engine, add_ticket_type(engine, 3))
    tamper(engine, f"UPDATE counters SET sold = 1 WHERE event_id = {event}")
    asked = [ask(engine, each) for each in (event, other)]
    for id_, verdict in zip(asked, ("failed", "passed"), strict=True):
        until(runner, engine, id_, verdict)
    expected = verdict_of(audit(engine, settings, event), 0)
    assert rows(engine, "SELECT entries, findings, summary FROM audits ORDER BY id LIMIT 1") == [
        (3, expected.findings, expected.summary)
    ]
    assert not audit(engine, settings).ok
    assert expected.findings


def test_owners_take_turns(
    engine: Engine, settings: Settings, runner: AuditRunner, event: int
) -> None:
    own, others = (event_of(engine, add_ticket_type(engine, 3)) for _ in range(2))
    same = (
        "UPDATE events SET owner_id = (SELECT owner_id FROM events WHERE id = :id) WHERE id = :own"
    )
    run(engine, same, id=event, own=own)
    first, second, third = (ask(engine, each) for each in (event, own, others))
    until(runner, engine, first, "passed")
    until(runner, engine, third, "passed")
    assert status(engine, second) == "queued"
    until(runner, engine, second, "passed")


def test_an_audit_whose_process_cannot_be_started_is_begun_again(
    engine: Engine, runner: AuditRunner, event: int
) -> None:
    id_ = ask(engine, event)
    with patch("subprocess.Popen", side_effect=BlockingIOError):
        runner.step()
        assert status(engine, id_) == "running"
        runner.step()
        assert status(engine, id_) == "queued"
        runner.step()
        assert status(engine, id_) == "queued", "another may begin it, this one tries again later"
    runner._claim_at = 0.0
    until(runner, engine, id_, "passed")


def kill_process() -> None:
    (process,) = (
        child
        for child in psutil.Process().children()
        if "purchase_worker.audit.of_event" in child.cmdline()
    )
    process.kill()


def test_an_audit_survives_the_death_of_its_process_and_of_its_sweeper(
    engine: Engine, runner: AuditRunner, event: int
) -> None:
    id_ = ask(engine, event)
    until(runner, engine, id_, "running")
    kill_process()
    until(runner, engine, id_, "queued")
    until(runner, engine, id_, "running")
    # Nothing more is heard of this one.
    run(engine, "UPDATE audits SET lease_until = now()")
    other = AuditRunner(engine)
    until(other, engine, id_, "passed")
    before = rows(engine, "SELECT * FROM audits")
    for _ in range(100):
        runner.step()
    assert rows(engine, "SELECT * FROM audits") == before
    assert scalar(engine, "SELECT attempts FROM audits") == 3


def test_an_audit_survives_a_database_that_was_away_when_its_process_died(
    engine: Engine, runner: AuditRunner, event: int
) -> None:
    id_ = ask(engine, event)
    until(runner, engine, id_, "running")
    with engine.begin() as connection:
        # Stands for it: changes of the row end at their time-out.
        connection.execute(text("SELECT FROM audits FOR UPDATE"))
        kill_process()
        with pytest.raises(DATABASE_UNAVAILABLE):
            until(runner, engine, id_, "queued")
    until(runner, engine, id_, "passed")


def test_an_audit_that_never_ends_is_given_up(
    engine: Engine, runner: AuditRunner, event: int
) -> None:
    id_ = ask(engine, event)
    run(engine, "UPDATE audits SET attempts = 3")
    until(runner, engine, id_, "error")
    assert "never ended" in scalar(engine, "SELECT summary FROM audits")
