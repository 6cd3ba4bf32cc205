"""`eventify user`: single accounts, for the operator."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import click
from sqlalchemy import Engine

from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from gateway.accounts import store
from gateway.accounts.password_rules import weaknesses
from gateway.accounts.passwords import HASHER, prepared
from gateway.accounts.store import Login
from gateway.api_keys.schemas import ApiKey
from gateway.api_keys.store import KEYS_MAX, page, revoke
from shared.auth.issuer_tokens import Subject
from shared.errors import ConfigurationError, Problem
from shared.web.pagination import PageWanted

USERNAME = click.argument("username")


@click.group()
def user() -> None:
    """Show an account, set its password, lock and unlock it, revoke its API keys."""


@user.command()
@click.argument("username", required=False)
@click.option("--issuer", help="Instead of USERNAME: the `iss` of a trusted issuer's user.")
@click.option("--subject", help="And the `sub`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(username: str | None, issuer: str | None, subject: str | None, as_json: bool) -> None:
    """The account, how many sign-ins are open, and its API keys."""
    if username is not None and issuer is None and subject is None:
        wanted: str | Subject = username
    elif username is None and issuer is not None and subject is not None:
        wanted = Subject(issuer, subject)
    else:
        raise click.UsageError("Give a USERNAME, or --issuer and --subject.")
    with _found(wanted) as found:
        account = store.find_account(found.engine, found.login.user_id)
        sign_ins = store.open_sign_ins(found.engine, found.login.user_id)
        keys = _keys(found)
    assert account is not None, "it was found a moment ago"
    locked_at = found.login.locked_at
    shown = {
        "id": account.id,
        "username": account.username,
        "email": account.email,
        "created_at": _time(account.created_at),
        "has_password": found.login.password_hash is not None,
        "locked_at": None if locked_at is None else _time(locked_at),
        "open_sign_ins": sign_ins,
    }
    if as_json:
        click.echo(json.dumps(shown | {"api_keys": [_shown(key) for key in keys]}, indent=2))
    else:
        for name, value in shown.items():
            click.echo(f"{name:<14}{'-' if value is None else value}")
        for key in keys:
            used = "never used" if key.last_used_at is None else f"used {_time(key.last_used_at)}"
            click.echo(f"API key {key.id}: {key.name} ({', '.join(key.scopes)}), {used}")


@user.command()
@USERNAME
def set_password(username: str) -> None:
    """Set a password, read from the terminal or standard input.

    It ends all sign-ins; API keys still work.
    """
    with _found(username) as found:
        password = _new_password()
        weak = weaknesses(password, found.login.username)
        if weak:
            raise ConfigurationError(" ".join(weak))
        if not store.change_password(found.engine, found.login, HASHER.hash(prepared(password))):
            raise ConfigurationError("The password was changed by another; try again.")
        keys = len(_keys(found))
    click.echo(f"The password of {found.login.username} is set. All its sign-ins are ended.")
    if keys:
        click.echo(f"It still has API keys: {keys}. `eventify user revoke-keys` ends them.")


@user.command()
@USERNAME
def lock(username: str) -> None:
    """End all sign-ins and allow no other.

    Access tokens are void within a second, and API keys do not work until `unlock`.
    """
    with _found(username) as found:
        store.lock(found.engine, found.login.user_id)
    click.echo(f"{found.login.username} is locked.")


@user.command()
@USERNAME
def unlock(username: str) -> None:
    """Allow sign-ins again; API keys work again."""
    with _found(username) as found:
        store.unlock(found.engine, found.login.user_id)
    click.echo(f"{found.login.username} is not locked.")


@user.command()
@USERNAME
def revoke_keys(username: str) -> None:
    """Revoke all API keys, for ever."""
    with _found(username) as found:
        revoked = [revoke(found.engine, found.login.user_id, key.id) for key in _keys(found)]
    click.echo(f"API keys of {found.login.username} that were revoked: {sum(revoked)}.")


@dataclass(frozen=True, slots=True)
class _Found:
    engine: Engine
    login: Login


@contextmanager
def _found(wanted: str | Subject) -> Iterator[_Found]:
    """The account of this name, or of a trusted issuer's subject.

    Raises:
        ConfigurationError: there is none, or the database failed.
    """
    with database(settings_of_running_system(find_home())) as engine:
        try:
            if isinstance(wanted, Subject):
                login, name = store.find_login_of_subject(engine, wanted), wanted.subject
            else:
                login, name = store.find_login(engine, wanted), wanted
            if login is None:
                raise ConfigurationError(f"There is no user {name}.")
            yield _Found(engine, login)
        except Problem as problem:
            raise ConfigurationError(problem.detail) from problem


def _keys(found: _Found) -> list[ApiKey]:
    """Those that are not revoked."""
    wanted = PageWanted(number=1, size=KEYS_MAX, address="")
    keys: list[ApiKey] = page(found.engine, found.login.user_id, wanted)["results"]
    return keys


def _shown(key: ApiKey) -> dict[str, object]:
    return {
        name: _time(value) if isinstance(value, datetime) else value
        for name, value in key.model_dump().items()
    }


def _new_password() -> str:
    """Never from an argument: other users of the host can read those."""
    if sys.stdin.isatty():
        prompted: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return prompted
    return sys.stdin.readline().rstrip("\n")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
