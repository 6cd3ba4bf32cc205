"""Settings: what cannot be meant is refused by name, and the reference of them all is current."""

import inspect
import re

import pytest

from deploy.cli.settings_reference import read_settings, settings_reference
from shared.config.settings import MAY_BE_ZERO, Settings, get_settings, unknown_variables, variable
from shared.config.url_passwords import without_passwords
from shared.errors import ConfigurationError
from tests.support.services import PROJECT


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """With nothing in it but a database."""
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", "postgresql:///unused")
    # Not `get_settings` itself: what it remembers would stay for other tests.
    return monkeypatch


read = inspect.unwrap(get_settings)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ACCEPT_BATCH_ROWS", "0", "EVENTIFY_ACCEPT_BATCH_ROWS must be above 0"),
        ("ANSWER_TIMEOUT_SECONDS", "-1", "EVENTIFY_ANSWER_TIMEOUT_SECONDS must be above 0"),
        ("DRAIN_MAX_SECONDS", "nan", "EVENTIFY_DRAIN_MAX_SECONDS: Input should be a finite number"),
        ("PURCHASE_RATE_BURST", "-1", "EVENTIFY_PURCHASE_RATE_BURST must not be negative"),
        ("GATEWAY_PORT", "65536", "EVENTIFY_GATEWAY_PORT must not be above 65535"),
        ("LOG_LEVEL", "loud", "EVENTIFY_LOG_LEVEL must be one of DEBUG, INFO"),
        ("CATALOG_URL", "catalog:8001", "EVENTIFY_CATALOG_URL must be an http:// or https:// URL"),
        ("PUBLIC_URL", "shop.example", "EVENTIFY_PUBLIC_URL must be an http:// or https:// URL"),
        ("PUBLIC_URL", "https://a@b", "EVENTIFY_PUBLIC_URL must have no user info, query or fragm"),
        ("TRUSTED_PROXIES", "proxy", "EVENTIFY_TRUSTED_PROXIES must be addresses or networks"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_by_name(
    environment: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    environment.setenv(f"EVENTIFY_{name}", value)
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        read()


def test_every_mistake_is_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EVENTIFY_ACCEPT_WRITERS", "many")
    environment.setenv("EVENTIFY_STATUS_READERS", "0")
    with pytest.raises(ConfigurationError, match=r"ACCEPT_WRITERS.*; EVENTIFY_STATUS_READERS"):
        read()


@pytest.mark.parametrize("name", sorted(MAY_BE_ZERO))
def test_zero_is_allowed_where_it_has_a_meaning(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(variable(name), "0")
    assert getattr(read(), name) == 0


def test_a_misspelt_setting_is_told_with_the_one_that_was_meant() -> None:
    names = ["EVENTIFY_BACKLOG_MAX_ROW", "eventify_log_levl", "EVENTIFY_SNACKS", "PATH"]
    assert unknown_variables(names) == {
        "EVENTIFY_BACKLOG_MAX_ROW": "EVENTIFY_BACKLOG_MAX_ROWS",
        "EVENTIFY_LOG_LEVL": "EVENTIFY_LOG_LEVEL",
        "EVENTIFY_SNACKS": None,
    }


def test_every_setting_is_known_and_so_is_what_else_has_our_prefix() -> None:
    assert unknown_variables(map(variable, Settings.model_fields)) == {}
    assert unknown_variables(["EVENTIFY_HOME", "EVENTIFY_FAILPOINTS"]) == {}


def test_every_setting_has_its_reason_beside_it() -> None:
    settings = list(read_settings(inspect.getsource(Settings)))
    assert [setting.name for setting in settings] == list(Settings.model_fields)
    assert [setting.name for setting in settings if not setting.reason] == []


def test_the_reference_of_settings_is_current() -> None:
    written = (PROJECT / "docs" / "configuration.md").read_text()
    assert written == settings_reference(), "run `make docs`"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:geheim@db/eventify", "postgresql://ada:***@db/eventify"),
        ("postgresql://ada:geheim@a:1,b:2/x", "postgresql://ada:***@a:1,b:2/x"),
        ("postgresql:///x?user=ada&password=geheim", "postgresql:///x?user=ada&password=***"),
        ("redis://:geheim@cache:6379/0", "redis://:***@cache:6379/0"),
        ("sentinel://:geheim@a;sentinel://:geheim@b", "sentinel://:***@a;sentinel://:***@b"),
    ],
)
def test_a_url_is_shown_without_its_passwords(url: str, shown: str) -> None:
    assert without_passwords(url) == shown
