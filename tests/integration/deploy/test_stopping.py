"""SIGTERM during work: started work is finished, and clients get their answers."""

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.wakeups import WakeupSender
from purchase_worker.audit.all_events import audit
from shared.auth.mint_tokens import mint_tokens
from shared.config.settings import Settings
from shared.free_port import free_port
from shared.purchases import RESULT_KEY_PREFIX
from tests.support.factories import (
    add_ticket_type,
    add_users,
    event_of,
    outcomes,
    queue,
    request,
)
from tests.support.services import running_service, stop_signals_refused
from tests.support.waiting import eventually, until_sessions_wait
from tests.system.selling import WAIT, buy

LIMIT_SECONDS = 20
BUYERS = 12
STARTED_WITHIN_SECONDS = 60
# So that requests still wait when the signal comes, also on a busy machine.
LONG_TIMEOUTS = {
    "lock_timeout_ms": 60_000,
    "statement_timeout_ms": 60_000,
    "answer_timeout_seconds": 60.0,
}


@contextmanager
def table_locked(engine: Engine, table: str) -> Iterator[None]:
    """Writes to the table wait until the block ends."""
    with engine.connect() as other:
        other.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        other.exec_driver_sql(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield


@contextmanager
def buyers(url: str, tokens: Sequence[str]) -> Iterator[list[httpx.Client]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                httpx.Client(
                    base_url=url,
                    headers={"Authorization": f"Bearer {token}"} | WAIT,
                    timeout=LIMIT_SECONDS,
                    verify=False,
                )
            )
            for token in tokens
        ]


def all_asked(url: str) -> None:
    """Fails until the gateway has every buyer's request."""
    assert f"\neventify_clients_waiting {BUYERS}.0\n" in httpx.get(f"{url}/metrics").text


def refuses_connections(url: str) -> None:
    """Fails until the gateway has begun to stop."""
    try:
        httpx.get(f"{url}/healthz")
    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):  # just coming in
        return
    raise AssertionError("it still takes connections")


def handles(pid: int, number: signal.Signals) -> None:
    """Fails until the process has a handler for the signal, and does not block it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught, blocked = (
        int(status.split(f"{name}:")[1].split()[0], base=16) >> (number - 1) & 1
        for name in ("SigCgt", "SigBlk")
    )
    assert (caught, blocked) == (1, 0)


@pytest.mark.parametrize(
    ("module", "number", "exit_code"),
    [
        # uvicorn raises the signal again at its end.
        ("gateway", signal.SIGINT, -signal.SIGINT),
        ("catalog", signal.SIGTERM, -signal.SIGTERM),
        ("purchase_worker", signal.SIGTERM, 0),
        ("purchase_worker.sweep", signal.SIGTERM, 0),
    ],
)
def test_a_service_is_stopped_by_a_signal_that_its_parent_ignores(
    settings: Settings, module: str, number: signal.Signals, exit_code: int
) -> None:
    port = free_port()
    own = {"gateway_port": port} if module == "gateway" else {"catalog_port": port}
    ready_url = f"http://127.0.0.1:{port}/readyz" if module in ("gateway", "catalog") else None
    with ExitStack() as stack:
        with stop_signals_refused():
            service = stack.enter_context(
                running_service(module, Settings(**settings.model_dump() | own), ready_url)
            )
        eventually(lambda: handles(service.pid, number), within_seconds=STARTED_WITHIN_SECONDS)
        service.send_signal(number)
        assert service.wait(LIMIT_SECONDS) == exit_code


def test_a_gateway_that_stops_stores_its_open_batches_and_answers(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 100)
    # Small batches: some are being written, and the others wait for a writer.
    own = {"gateway_port": free_port(), "accept_batch_rows": 3}
    stopping = Settings(**settings.model_dump() | LONG_TIMEOUTS | own)
    url = f"http://127.0.0.1:{stopping.gateway_port}"
    with engine.begin() as connection:
        tokens = list(mint_tokens(connection, settings, [f"buyer{n}" for n in range(BUYERS)]))
    with (
        running_service("gateway", stopping, f"{url}/readyz") as gateway,
        ThreadPoolExecutor(BUYERS) as threads,
        buyers(url, tokens) as clients,
    ):
        with table_locked(engine, "requests"):
            answers = [threads.submit(buy, client, ticket_type) for client in clients]
            until_sessions_wait(engine, stopping.accept_writers)
            eventually(lambda: all_asked(url))
            gateway.send_signal(signal.SIGTERM)
            eventually(lambda: refuses_connections(url))
            assert not any(answer.done() for answer in answers)
        stored = [answer.result(LIMIT_SECONDS) for answer in answers]
        # uvicorn raises the signal again at its end.
        assert gateway.wait(LIMIT_SECONDS) == -signal.SIGTERM
    assert [answer.status_code for answer in stored] == [202] * BUYERS
    bought = {answer.json()["id"] for answer in stored}
    assert bought == {id_ for id_, _, _ in outcomes(engine, ticket_type)}


def test_a_worker_that_stops_finishes_its_drain_and_publishes_the_results(
    engine: Engine, settings: Settings, redis_client: redis.Redis
) -> None:
    ticket_type = add_ticket_type(engine, 3)
    ids = queue(engine, [request(user, ticket_type) for user in add_users(engine, 5)])
    wakeups = WakeupSender(settings)
    wakeups.start()
    stopping = Settings(**settings.model_dump() | LONG_TIMEOUTS)
    with running_service("purchase_worker", stopping) as worker:
        with table_locked(engine, "batches"):
            wakeups.notify([event_of(engine, ticket_type)])
            until_sessions_wait(engine, within_seconds=STARTED_WITHIN_SECONDS)
            worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 0
    wakeups.close()
    statuses = [status for _, status, _ in outcomes(engine, ticket_type)]
    assert statuses == ["confirmed"] * 3 + ["rejected"] * 2
    assert all(redis_client.exists(RESULT_KEY_PREFIX + id_) for id_ in ids)
    assert audit(engine, settings).ok
