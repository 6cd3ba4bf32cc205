"""Worker and sweeper serve metrics on a port of their own; a gateway, without a database."""

import os
import signal
from math import isnan
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.wakeups import WakeupSender
from shared.config.settings import Settings
from shared.free_port import free_port
from tests.support.factories import (
    add_ticket_type,
    add_users,
    all_confirmed,
    event_of,
    queue,
    request,
    tamper,
)
from tests.support.figures import figures
from tests.support.services import running_service
from tests.support.waiting import eventually

CONFIRMED = 'eventify_purchases_decided_total{outcome="confirmed"}'


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics_port": free_port(), "counter_watch_seconds": 0.1})


@pytest.fixture
def url(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.metrics_port}/metrics"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where processes that are started here make their temporary folders."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("EVENTIFY_HEARTBEAT_DIR", str(tmp_path / "heartbeats"))
    return temporary


def sell(engine: Engine, wakeups: WakeupSender | None, buyers: int) -> None:
    ticket_type = add_ticket_type(engine, buyers)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, buyers)])
    if wakeups is not None:
        wakeups.notify([event_of(engine, ticket_type)])
    eventually(lambda: all_confirmed(engine, ticket_type))


def eventually_served(url: str, series: str, value: float) -> None:
    def is_served() -> None:
        assert figures(url)[series] == value

    eventually(is_served, retry_on=(AssertionError, httpx.TransportError, KeyError))


def test_a_worker_serves_what_its_children_decided_even_those_that_were_killed(
    engine: Engine, settings: Settings, wakeups: WakeupSender, url: str, temporary: Path
) -> None:
    with running_service("purchase_worker", settings) as worker:
        sell(engine, wakeups, 3)
        eventually_served(url, CONFIRMED, 3)
        assert figures(url)["eventify_request_to_decision_seconds_count"] == 3
        forked = [
            child
            for child in psutil.Process(worker.pid).children()
            if "metrics_server" not in " ".join(child.cmdline())
        ]
        assert len(forked) == settings.worker_processes
        for child in forked:
            os.kill(child.pid, signal.SIGKILL)
        psutil.wait_procs(forked)
        eventually_served(url, CONFIRMED, 3)
        sell(engine, wakeups, 2)
        eventually_served(url, CONFIRMED, 5)
    assert worker.returncode == 0
    assert list(temporary.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_killed_worker_leaves_no_metrics_server(
    settings: Settings, redis_client: redis.Redis, url: str
) -> None:
    with running_service("purchase_worker", settings) as worker:
        eventually(lambda: httpx.get(url), retry_on=httpx.TransportError)
        worker.kill()

        def no_metrics() -> None:
            with pytest.raises(httpx.TransportError):
                httpx.get(url)

        eventually(no_metrics, retry_on=pytest.fail.Exception)


def test_a_sweeper_serves_its_decisions_and_the_audit_of_the_counters(
    engine: Engine, settings: Settings, redis_client: redis.Redis, url: str
) -> None:
    with running_service("purchase_worker.sweep", settings):
        eventually_served(url, "eventify_sweeper_decisions_total", 0)
        sell(engine, None, 3)
        eventually_served(url, "eventify_sweeper_decisions_total", 3)
        eventually_served(url, "eventify_audit_checked_total", 3)
        served = figures(url)
        assert served[CONFIRMED] == 3
        assert served['eventify_audit_violations_total{invariant="inventory"}'] == 0
        assert served["eventify_sweep_timestamp_seconds"] > 0
        assert served["process_resident_memory_bytes"] > 0


def test_a_sweeper_serves_how_far_a_lane_is_ahead_of_the_clock(
    engine: Engine, settings: Settings, redis_client: redis.Redis, url: str
) -> None:
    """As a clock left it that was an hour ahead for a moment."""
    with running_service("purchase_worker.sweep", settings):
        eventually_served(url, "eventify_lane_ahead_seconds", 0)
        sell(engine, None, 3)
        eventually_served(url, "eventify_audit_checked_total", 3)
        assert figures(url)["eventify_lane_ahead_seconds"] == 0
        tamper(engine, "UPDATE lanes SET at = now() + interval '1 hour'")
        eventually(lambda: check_ahead(url))


def check_ahead(url: str) -> None:
    assert 3_500 < figures(url)["eventify_lane_ahead_seconds"] <= 3_600


def test_a_port_in_use_is_an_error_of_one_sentence(
    settings: Settings, redis_client: redis.Redis, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_service("purchase_worker.sweep", settings):
        eventually(lambda: httpx.get(url), retry_on=httpx.TransportError)
        with running_service("purchase_worker.sweep", settings) as second:
            assert second.wait(timeout=20) == 1
    sentence = f"Error: Cannot serve metrics on 127.0.0.1 port {settings.metrics_port}: "
    assert sentence in capfd.readouterr().err


def test_without_its_database_a_gateway_serves_the_queue_as_unknown(
    settings: Settings, redis_client: redis.Redis
) -> None:
    away = settings.model_copy(
        update={"database_url": "postgresql://127.0.0.1:1/away", "gateway_port": free_port()}
    )
    base = f"http://127.0.0.1:{away.gateway_port}"
    with running_service("gateway", away, f"{base}/healthz"):

        def queue_is_unknown() -> None:
            served = figures(f"{base}/metrics")
            assert isnan(served["eventify_purchases_queued"])
            assert isnan(served["eventify_oldest_queued_seconds"])
            assert served["eventify_queue_read_timestamp_seconds"] == 0

        eventually(queue_is_unknown)
