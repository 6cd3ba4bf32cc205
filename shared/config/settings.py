"""Reads the settings from the environment (`EVENTIFY_...`).

Secrets may be in files instead, as container engines mount them: `EVENTIFY_SECRETS_DIR` names their
directory, and each file is named like its setting, `eventify_database_url`. A variable overrides a
file.
"""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from shared.config import setting_groups as groups
from shared.errors import ConfigurationError

PREFIX = "EVENTIFY_"
SECRETS_DIR = "EVENTIFY_SECRETS_DIR"
# Variables with our prefix that are not settings.
OTHER_VARIABLES = {
    "EVENTIFY_HOME": "the directory of `eventify up`: data, keys and logs; `.eventify`",
    SECRETS_DIR: "a directory of files that are named like settings and hold their values",
    "EVENTIFY_SUPERVISED_IN": "set by `eventify up` to recognise its own processes",
    "EVENTIFY_FAILPOINTS": "a directory by which fault tests kill a process; never set it",
}


class Settings(
    # pydantic takes the fields of the last base first: in this order they are listed.
    groups.ProcessSettings,
    groups.DatabaseSettings,
    groups.HealthSettings,
    groups.WebhookSettings,
    groups.SweeperSettings,
    groups.DrainSettings,
    groups.PurchaseSettings,
    groups.HttpSettings,
    groups.RateLimitSettings,
    groups.CatalogSettings,
    groups.CatalogProxySettings,
    groups.AccountSettings,
    groups.AddressSettings,
    groups.ConnectionSettings,
    BaseSettings,
):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, allow_inf_nan=False)

    @property
    def webhook_lease_seconds(self) -> float:
        """How long a sender has a delivery to itself: an attempt, and what is written after it."""
        return 1.5 * self.webhook_timeout_seconds + 1

    @property
    def celery_broker_url(self) -> str:
        return self.broker_url or self.redis_url


@cache
def get_settings() -> Settings:
    """The process's settings.

    Raises:
        ConfigurationError: a setting is missing or malformed (the message names all of them), or
            the directory of secrets, or a file in it, cannot be read.
    """
    try:
        return Settings(_secrets_dir=_secrets_dir(os.environ))
    except SettingsError as error:
        raise _unreadable(error) from error
    except ValidationError as error:
        problems = (
            f"{variable(str(e['loc'][0]).removeprefix(PREFIX))}{_message(e)}"
            for e in error.errors()
        )
        raise ConfigurationError("; ".join(problems)) from error


def settings_in_files(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings, by name, that the directory of secrets holds; empty without one.

    Raises:
        ConfigurationError: the directory, or a file in it, cannot be read.
    """
    directory = _secrets_dir(environment)
    if directory is None:
        return {}
    try:
        return SecretsSettingsSource(Settings, directory)()
    except SettingsError as error:
        raise _unreadable(error) from error


def unknown_variables(names: Iterable[str]) -> dict[str, str | None]:
    """Variables with our prefix that are not settings, each with the closest setting's name.

    They are only warned of: an orchestrator may set such names of its own, and an older version
    must run in the environment of a newer one.
    """
    known = {variable(name) for name in Settings.model_fields} | set(OTHER_VARIABLES)
    unknown = {name.upper() for name in names if name.upper().startswith(PREFIX)} - known
    return {
        name: next(iter(get_close_matches(name, known, n=1, cutoff=0.85)), None) for name in unknown
    }


def variable(setting: str) -> str:
    return f"{PREFIX}{setting.upper()}"


def _secrets_dir(environment: Mapping[str, str]) -> Path | None:
    given = environment.get(SECRETS_DIR)
    if not given:
        return None
    directory = Path(given)
    if not directory.is_dir():
        raise ConfigurationError(f"{SECRETS_DIR} is {given}, which is not a directory.")
    return directory


def _unreadable(error: SettingsError) -> ConfigurationError:
    """Of a file in the directory of secrets."""
    return ConfigurationError(f"{SECRETS_DIR}: {error}: {error.__cause__}.")


def _message(error: ErrorDetails) -> str:
    """What is wrong with a setting, to follow its name."""
    if error["type"] == "missing":
        return " is not set"
    ours = error["msg"].removeprefix("Value error, ")
    return f" {ours}" if ours != error["msg"] else f": {ours}"
