"""Real processes in an environment with other libraries' variables: only our settings count."""

import subprocess
import sys

import pytest
import redis
from sqlalchemy import Engine

from gateway.purchases.wakeups import WakeupSender
from shared.config.settings import Settings
from shared.messaging.celery_client import PURCHASES_QUEUE
from tests.support.factories import (
    add_ticket_type,
    add_users,
    all_confirmed,
    event_of,
    queue,
    request,
)
from tests.support.services import PROJECT, environment, running_service
from tests.support.waiting import eventually

CELERYS = {
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_READ_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_WRITE_URL": "redis://127.0.0.1:1/0",
    "CELERY_CONFIG_MODULE": "there_is_none",
    "CELERY_CUSTOM_WORKER_POOL": "there.is:none",
    "CELERY_LOADER": "default",
    "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/0",
    "CONFIG_MODULE": "there_is_none",
    "C_BENCH_EVERY": "x",
    "DJANGO_SETTINGS_MODULE": "there_is_none",
    "LOADER": "there.is:None",
    "PICKLE_PROTOCOL": "x",
    "RESULT_BACKEND": "redis://127.0.0.1:1/0",
}
LIBPQS = {
    "PGCHANNELBINDING": "require",
    "PGCLIENTENCODING": "LATIN1",
    "PGDATABASE": "nobody",
    "PGDATESTYLE": "German",
    "PGGSSENCMODE": "require",
    "PGHOST": "127.0.0.2",
    "PGHOSTADDR": "127.0.0.2",
    "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGPASSFILE": "/nowhere",
    "PGPASSWORD": "wrong",
    "PGPORT": "1",
    "PGREQUIREAUTH": "none",
    "PGREQUIRESSL": "1",
    "PGSERVICE": "x",
    "PGSSLMODE": "require",
    "PGSSLROOTCERT": "/nowhere",
    "PGTARGETSESSIONATTRS": "standby",
    "PGTZ": "Asia/Kathmandu",
    "PGUSER": "nobody",
}
# How a session sees itself, by each way in which our processes connect.
LOOK = """
import psycopg2
from deploy.database import database
from shared.database.session_settings import keep_in_role
from shared.config.settings import get_settings
settings = get_settings()
keep_in_role(settings)
with database(settings) as engine, engine.connect() as connection:
    for name in ("client_encoding", "datestyle", "timezone", "default_transaction_read_only"):
        print(connection.exec_driver_sql(f"SHOW {name}").scalar())
    print(connection.exec_driver_sql("SELECT 'अनिता'").scalar().encode().hex())
"""


def run(program: str, env: dict[str, str]) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_connections_have_our_settings(settings: Settings) -> None:
    seen = run(LOOK, environment(settings) | LIBPQS).splitlines()
    assert seen == ["UTF8", "ISO, MDY", "UTC", "off", "अनिता".encode().hex()]


def test_the_worker_receives_wakeups_from_our_broker(
    engine: Engine,
    settings: Settings,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticket_type = add_ticket_type(engine, 3)
    queue(engine, [request(user, ticket_type) for user in add_users(engine, 3)])
    sender = WakeupSender(settings)
    sender.start()
    sender.notify([event_of(engine, ticket_type)])
    sender.close()
    assert redis_client.llen(PURCHASES_QUEUE) == 1
    for name, value in (CELERYS | LIBPQS).items():
        monkeypatch.setenv(name, value)
    with running_service("purchase_worker", settings) as worker:
        eventually(lambda: all_confirmed(engine, ticket_type), retry_on=AssertionError)
    assert worker.returncode == 0


def test_the_gateway_sends_by_our_broker(
    settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
from gateway.purchases.wakeups import WakeupSender
from shared.config.settings import get_settings
sender = WakeupSender(get_settings())
sender.start()
sender.notify([1])
sender.close()
"""
    run(program, environment(settings) | CELERYS | LIBPQS)
    assert redis_client.llen(PURCHASES_QUEUE) == 1
