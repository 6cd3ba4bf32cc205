"""Somebody watches the demo in a browser: an organiser who can sign in, and the wait for them."""

import os
import secrets
import select
import sys
import time
import webbrowser

import msgspec
from rich.console import Console
from sqlalchemy import Engine

from gateway.accounts.store import open_sign_ins
from loadtests.selling import register

# To find the browser and to sign in; nobody has to.
WAIT_SECONDS = 120.0
LOOK_EVERY_SECONDS = 0.25
# From the sign-in to the first figures in the page.
LOADED_AFTER_SECONDS = 3.0


class Organiser(msgspec.Struct, frozen=True):
    user_id: int
    username: str
    password: str


def register_organiser(base_url: str) -> Organiser:
    """A new account each time: no other has its password.

    Raises:
        ConfigurationError: the system refuses it.
    """
    username, password = f"demo-organiser-{secrets.token_hex(3)}", secrets.token_urlsafe(12)
    return Organiser(register(base_url, username, password), username, password)


def open_console(public_url: str, organiser: Organiser, event: int, console: Console) -> None:
    """Print where to look, and open it where there is a display."""
    address = f"{public_url}/console/#/events/{event}"
    console.print(
        f"\n  console    {address}\n"
        f"  sign in    {organiser.username}  {organiser.password}\n"
        f"  buyers see {public_url}/events/{event}/\n\n"
        "The rush begins when you have signed in, or press Enter, or after"
        f" {WAIT_SECONDS:g} s.\n",
        soft_wrap=True,
        markup=False,
    )
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def wait_until_watched(engine: Engine, organiser: Organiser) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and not enter_pressed(LOOK_EVERY_SECONDS):
        if open_sign_ins(engine, organiser.user_id):
            time.sleep(LOADED_AFTER_SECONDS)
            return


def enter_pressed(within_seconds: float) -> bool:
    if not sys.stdin.isatty():
        time.sleep(within_seconds)
        return False
    typed, _, _ = select.select([sys.stdin], [], [], within_seconds)
    return bool(typed and sys.stdin.readline())
