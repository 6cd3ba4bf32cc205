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
from shared.errors import ConfigurationError, Problem

USERNAME = click.argument("username")


@click.group()
def user() -> None:
    """Show an account, set its password, lock and unlock it."""


@user.command()
@USERNAME
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(username: str, as_json: bool) -> None:
    """The account, and how many sign-ins are open."""
    with _found(username) as found:
        account = store.find_account(found.engine, found.login.user_id)
        sign_ins = store.open_sign_ins(found.engine, found.login.user_id)
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
        click.echo(json.dumps(shown, indent=2))
    else:
        for name, value in shown.items():
            click.echo(f"{name:<14}{'-' if value is None else value}")


@user.command()
@USERNAME
def set_password(username: str) -> None:
    """Set a password, read from the terminal or a line of standard input; ends all sign-ins."""
    with _found(username) as found:
        password = _new_password()
        weak = weaknesses(password, found.login.username)
        if weak:
            raise ConfigurationError(" ".join(weak))
        if not store.change_password(found.engine, found.login, HASHER.hash(prepared(password))):
            raise ConfigurationError("The password was changed by another; try again.")
    click.echo(f"The password of {found.login.username} is set. All its sign-ins are ended.")


@user.command()
@USERNAME
def lock(username: str) -> None:
    """End all sign-ins, and allow no other; access tokens are void within a second."""
    with _found(username) as found:
        store.lock(found.engine, found.login.user_id)
    click.echo(f"{found.login.username} is locked.")


@user.command()
@USERNAME
def unlock(username: str) -> None:
    """Allow sign-ins again."""
    with _found(username) as found:
        store.unlock(found.engine, found.login.user_id)
    click.echo(f"{found.login.username} is not locked.")


@dataclass(frozen=True, slots=True)
class _Found:
    engine: Engine
    login: Login


@contextmanager
def _found(username: str) -> Iterator[_Found]:
    """The account of this name.

    Raises:
        ConfigurationError: there is none, or the database failed.
    """
    with database(settings_of_running_system(find_home())) as engine:
        try:
            login = store.find_login(engine, username)
            if login is None:
                raise ConfigurationError(f"There is no user {username}.")
            yield _Found(engine, login)
        except Problem as problem:
            raise ConfigurationError(problem.detail) from problem


def _new_password() -> str:
    """Never from an argument: other users of the host can read those."""
    if sys.stdin.isatty():
        prompted: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return prompted
    return sys.stdin.readline().rstrip("\n")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
