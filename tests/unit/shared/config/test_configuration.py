"""Settings: an invalid value is an error that names its variable; the reference is current."""

import inspect
import re

import pytest
from pydantic import ValidationError

from deploy.cli.settings_reference import (
    attribute_docstrings,
    setting_groups,
    settings_reference,
)
from shared.config.settings import Settings, get_settings, unknown_variables, variable
from shared.errors import ConfigurationError
from tests.support.services import PROJECT


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """With nothing in it but a database."""
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", "postgresql:///unused")
    # Not `get_settings` itself: what it remembers would stay for other tests.
    return monkeypatch


NUMBERS = (int, float)
read = inspect.unwrap(get_settings)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ACCEPT_BATCH_ROWS", "0", "EVENTIFY_ACCEPT_BATCH_ROWS: Input should be greater than 0"),
        (
            "ANSWER_TIMEOUT_SECONDS",
            "-1",
            "EVENTIFY_ANSWER_TIMEOUT_SECONDS: Input should be greater",
        ),
        ("DRAIN_MAX_SECONDS", "nan", "EVENTIFY_DRAIN_MAX_SECONDS: Input should be a finite number"),
        (
            "PURCHASE_RATE_BURST",
            "-1",
            "EVENTIFY_PURCHASE_RATE_BURST: Input should be greater than or",
        ),
        ("GATEWAY_PORT", "65536", "EVENTIFY_GATEWAY_PORT: Input should be less than or equal"),
        ("LOG_LEVEL", "loud", "EVENTIFY_LOG_LEVEL: Input should be 'DEBUG', 'INFO'"),
        ("CATALOG_URL", "catalog:8001", "EVENTIFY_CATALOG_URL must be an http:// or https:// URL"),
        ("PUBLIC_URL", "shop.example", "EVENTIFY_PUBLIC_URL must be an http:// or https:// URL"),
        ("PUBLIC_URL", "https://a@b", "EVENTIFY_PUBLIC_URL must have no user info, query or fragm"),
        ("DEFAULT_CURRENCY", "DEM", "EVENTIFY_DEFAULT_CURRENCY must be a currency by ISO 4217"),
        ("TRUSTED_PROXIES", "proxy", "EVENTIFY_TRUSTED_PROXIES must be addresses or networks"),
    ],
)
def test_an_invalid_setting_is_an_error_that_names_it(
    environment: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    environment.setenv(f"EVENTIFY_{name}", value)
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        read()


def test_every_invalid_setting_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EVENTIFY_ACCEPT_WRITERS", "many")
    environment.setenv("EVENTIFY_STATUS_READERS", "0")
    with pytest.raises(ConfigurationError, match=r"ACCEPT_WRITERS.*; EVENTIFY_STATUS_READERS"):
        read()


ZERO_HAS_A_MEANING = {
    *(name for name in Settings.model_fields if "_rate_" in name),
    *("schema_cache_seconds", "waiting_max_rows", "metrics_port", "slow_purchase_seconds"),
}


def test_zero_is_allowed_exactly_where_it_has_a_meaning() -> None:
    numbers = [name for name, field in Settings.model_fields.items() if field.annotation in NUMBERS]
    for name in numbers:
        given = {"database_url": "postgresql:///unused", name: 0}
        if name in ZERO_HAS_A_MEANING:
            assert getattr(Settings.model_validate(given), name) == 0
        else:
            with pytest.raises(ValidationError):
                Settings.model_validate(given)


def test_an_unknown_variable_has_the_closest_setting_as_suggestion() -> None:
    names = ["EVENTIFY_BACKLOG_MAX_ROW", "eventify_log_levl", "EVENTIFY_SNACKS", "PATH"]
    assert unknown_variables(names) == {
        "EVENTIFY_BACKLOG_MAX_ROW": "EVENTIFY_BACKLOG_MAX_ROWS",
        "EVENTIFY_LOG_LEVL": "EVENTIFY_LOG_LEVEL",
        "EVENTIFY_SNACKS": None,
    }


def test_settings_and_our_other_variables_are_known() -> None:
    assert unknown_variables(map(variable, Settings.model_fields)) == {}
    assert unknown_variables(["EVENTIFY_HOME", "EVENTIFY_FAILPOINTS"]) == {}


def test_every_setting_has_its_reason() -> None:
    described = [name for group in setting_groups() for name in attribute_docstrings(group)]
    assert described == list(Settings.model_fields)


def test_the_reference_of_settings_is_current() -> None:
    written = (PROJECT / "docs" / "configuration.md").read_text()
    assert written == settings_reference(), "run `make docs`"
