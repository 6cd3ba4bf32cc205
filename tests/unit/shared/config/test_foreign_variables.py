"""libpq's and Celery's environment variables do not reach our connections."""

import os
import re
from pathlib import Path

import psycopg2
import pytest

from shared.config.foreign_variables import LIBPQ_VARIABLES, removed_variables
from shared.config.settings import Settings
from shared.messaging.celery_client import make_celery

BROKER = "redis://:ours@127.0.0.1:1/0"
OTHERS = "redis://:theirs@127.0.0.1:2/0"


def test_every_variable_that_libpq_reads_is_known() -> None:
    """They stand as whole strings in the library that psycopg2 brings along."""
    bundled = Path(psycopg2.__file__).parent.parent / "psycopg2_binary.libs"
    (library,) = bundled.glob("libpq-*")
    read = set(re.findall(rb"\0(PG[A-Z_]+)\0", library.read_bytes()))
    assert b"PGSSLMODE" in read
    results = {name for name in read if name.startswith(b"PGRES_")}
    assert {name.decode() for name in read - results} <= LIBPQ_VARIABLES


@pytest.mark.parametrize(
    "variable",
    [
        "CELERY_BROKER_URL",
        "CELERY_BROKER_READ_URL",
        "CELERY_BROKER_WRITE_URL",
        "CELERY_RESULT_BACKEND",
        "CELERY_LOADER",
        "CELERY_CONFIG_MODULE",
        "DJANGO_SETTINGS_MODULE",
        "BROKER_URL",
    ],
)
def test_celery_has_our_settings(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, OTHERS)
    settings = Settings(database_url="postgresql:///x", broker_url=BROKER)
    celery = make_celery(settings)
    assert celery.conf.broker_url == BROKER
    assert celery.conf.broker_read_url == BROKER
    assert celery.conf.broker_write_url == BROKER
    assert celery.connection_for_write().as_uri(include_password=True) == BROKER
    assert celery.conf.result_backend is None
    if variable.startswith("CELERY"):
        assert variable not in os.environ
        assert variable in removed_variables()
