"""Where settings are read from: variables, and files for what is secret."""

import os
from pathlib import Path

import pytest

from shared.config.settings import Settings, get_settings
from shared.errors import ConfigurationError

URL = "postgresql://eventify:from-a-file@db/eventify"


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EVENTIFY_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as a container engine mounts it: each file ends with a line's end."""
    (tmp_path / "eventify_database_url").write_text(f"{URL}\n")
    monkeypatch.setenv("EVENTIFY_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_secrets_are_read_from_files_named_like_their_settings(secrets: Path) -> None:
    (secrets / "eventify_redis_url").write_text("redis://:secret@valkey/0\n")
    (secrets / "eventify_broker_url").write_text("amqp://user:secret@rabbit//\n")
    (secrets / "postgres_password").write_text("of another program\n")

    settings = get_settings()

    assert settings.database_url == URL
    assert settings.redis_url == "redis://:secret@valkey/0"
    assert settings.celery_broker_url == "amqp://user:secret@rabbit//"


def test_a_variable_overrides_a_file(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTIFY_DATABASE_URL", "postgresql://elsewhere/eventify")

    assert get_settings().database_url == "postgresql://elsewhere/eventify"


def test_a_secret_that_no_file_holds_is_named(secrets: Path) -> None:
    (secrets / "eventify_database_url").unlink()

    with pytest.raises(ConfigurationError, match="EVENTIFY_DATABASE_URL is not set"):
        get_settings()


def test_a_malformed_secret_is_named_and_not_repeated(secrets: Path) -> None:
    (secrets / "eventify_database_url").write_text("mysql://eventify:hunter2@db/eventify")

    with pytest.raises(ConfigurationError, match="EVENTIFY_DATABASE_URL is not a URL") as error:
        get_settings()
    assert "hunter2" not in str(error.value)


def test_a_missing_directory_of_secrets_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTIFY_SECRETS_DIR", str(tmp_path / "nowhere"))

    with pytest.raises(ConfigurationError, match="nowhere, which is not a directory"):
        get_settings()


def test_a_secret_that_cannot_be_read_is_named(secrets: Path) -> None:
    # Readable for nobody, not even for root.
    (secrets / "eventify_redis_url").symlink_to("/proc/1/mem")

    with pytest.raises(ConfigurationError, match=r"EVENTIFY_SECRETS_DIR.*redis_url"):
        get_settings()


def test_settings_made_by_hand_read_no_files(secrets: Path) -> None:
    assert Settings(database_url="postgresql:///given").redis_url.startswith("redis://127.0.0.1")
