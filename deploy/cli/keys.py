"""`eventify keys`: the keys that sign tokens, and their rotation."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from shared.auth.key_rotation import KeyState, is_last_to_sign, key_states, reason_to_keep
from shared.auth.keys import add_signing_key, keys_in, remove_key
from shared.errors import ConfigurationError


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def keys(context: click.Context, as_json: bool) -> None:
    """List the keys in EVENTIFY_KEYS_DIR: which one signs, and how long the others are needed."""
    if context.invoked_subcommand is not None:
        return
    _, states = _read()
    if as_json:
        click.echo(json.dumps([asdict(state) for state in states], indent=2))
        return
    for state in states:
        click.echo(f"{state.kid}  added {_moment(state.placed_at)}  {_use(state, time.time())}")


@keys.command()
def add() -> None:
    """Add a key: it verifies at once, and signs when every verifier has read it."""
    folder, _ = _read()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        kid = add_signing_key(folder)
    except OSError as error:
        raise ConfigurationError(f"Cannot create a key in {folder}: {error.strerror}.") from error
    _, states = _read()
    (added,) = (state for state in states if state.kid == kid)
    click.echo(f"{kid}  {_use(added, time.time())}")


@keys.command()
@click.argument("kid")
@click.option(
    "--force", is_flag=True, help="For a leaked key: users with its tokens sign in again."
)
def remove(kid: str, force: bool) -> None:
    """Remove a key that no valid token needs."""
    folder, states = _read()
    if kid not in {state.kid for state in states}:
        raise ConfigurationError(f"There is no key {kid} in {folder}.")
    if is_last_to_sign(states, kid):
        raise ConfigurationError(
            f"No user could sign in without {kid}: add another key first, with `eventify keys add`."
        )
    reason = reason_to_keep(states, kid, time.time())
    if reason is not None and not force:
        raise ConfigurationError(f"{kid} is kept: {reason}. Use --force to remove it anyway.")
    try:
        remove_key(folder, kid)
    except OSError as error:
        raise ConfigurationError(f"Cannot remove {kid}: {error.strerror}.") from error
    click.echo(f"{kid} is removed; its tokens are invalid within seconds.")


def _read() -> tuple[Path, Sequence[KeyState]]:
    """The directory, and the keys in it.

    Raises:
        ConfigurationError: the directory cannot be read.
    """
    settings = settings_of_running_system(find_home(), needs_database=False)
    longest = max(settings.access_token_seconds, settings.refresh_token_seconds)
    try:
        found = keys_in(settings.keys_dir)
    except OSError as error:
        raise ConfigurationError(f"Cannot read {settings.keys_dir}: {error.strerror}.") from error
    return settings.keys_dir, key_states(found, time.time(), longest)


def _use(state: KeyState, now: float) -> str:
    if state.use == "signs":
        return "signs"
    if state.until is None:
        return "verifies; when its tokens expire is unknown"
    if state.use == "will sign":
        return f"verifies; signs from {_moment(state.until)}"
    if state.until > now:
        return f"verifies until {_moment(state.until)}"
    return "no longer needed"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
