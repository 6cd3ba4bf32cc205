"""The operator's command, `eventify`."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click
import msgspec
from rich.console import Console
from sqlalchemy import text

from deploy.cli import connections
from deploy.cli.explain import explain
from deploy.cli.keys import keys
from deploy.cli.kubernetes_secrets import kubernetes_secrets
from deploy.cli.settings import settings as settings_command
from deploy.cli.settings import tell_unknown_variables
from deploy.cli.stop_signals import stop_interrupts, stop_noted
from deploy.cli.wait_for_schema import wait_for_schema
from deploy.local import up as local_up
from deploy.local.down import take_down
from deploy.local.environment import settings_of_running_system
from deploy.local.home import Home, find_home, running_state
from deploy.local.leftovers import unsupervised_processes
from deploy.local.servers.embedded import free_port
from deploy.local.status import status_report, status_text
from deploy.local.supervisor.client import SupervisorAwayError
from purchase_worker.audit.report import audit as audit_rows
from purchase_worker.audit.table import show_audit
from shared.auth.mint_tokens import mint_tokens, user_names
from shared.errors import ConfigurationError
from shared.process import restore_stop_signals
from shared.row_ids import MAX_ID

# What a shell reports of a program that Ctrl-C ended: 128 and the signal's number.
INTERRUPTED = 130
# 1 is a violation; a script must be able to tell that from an audit that never happened.
AUDIT_NOT_RUN = 2
# 1 is nothing; both make a script that starts what is not supervised start it.
RUNS_UNSUPERVISED = 2
UNSUPERVISED = """\
The supervisor was killed, and these processes go on without it: what ends is not started again.
`eventify up` takes over: it ends them and starts everything anew. `eventify down` ends them.
"""
TICKET_TYPE_ID = click.IntRange(1, MAX_ID)
CHART_FORMATS = (".png", ".svg", ".pdf")


class OneSentenceErrors(click.Group):
    """Tells an operator's mistake in one sentence, exit code 1, without a traceback.

    An interruption is told so too, with exit code 130.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            _say("Interrupted.", err=True)
            sys.exit(INTERRUPTED)


@click.group(cls=OneSentenceErrors, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Eventify, the engine for ticket on-sales, on this machine.

    Its data is in EVENTIFY_HOME (default: .eventify). It runs its own PostgreSQL and Valkey unless
    EVENTIFY_DATABASE_URL or EVENTIFY_REDIS_URL name others.
    """


main.add_command(explain)
main.add_command(keys)
main.add_command(settings_command)
main.add_command(wait_for_schema)
main.add_command(kubernetes_secrets)


@main.command()
@click.option("--detach", is_flag=True, help="Return when it is ready, and leave it running.")
@click.option("--host", envvar="EVENTIFY_GATEWAY_HOST", default="127.0.0.1", show_default=True)
@click.option("--port", envvar="EVENTIFY_GATEWAY_PORT", type=int, default=8000, show_default=True)
@click.option("--gateways", type=int, default=1, show_default=True, help="Gateway processes.")
@click.option("--workers", type=int, default=1, show_default=True, help="Celery workers.")
def up(detach: bool, host: str, port: int, gateways: int, workers: int) -> None:
    """Start all of it; Ctrl-C stops it."""
    restore_stop_signals()
    home, wish = find_home(), local_up.Wish(host, port, gateways, workers)
    tell_unknown_variables()
    _say(f"Starting Eventify, with its data in {home.path}:")
    with stop_noted() as stop_requested:
        began = time.monotonic()
        system = local_up.start(home, wish, _say, stop_requested)
        _say(f"Ready in {time.monotonic() - began:.1f} s.\n\n{_what_to_try(system, detach)}")
        if detach:
            return
        local_up.follow(system, _say, stop_requested)
        exit_code = system.process.poll()
        if exit_code is None:
            _say("\nStopping ...")
        local_up.stop(system)
    if exit_code:
        raise ConfigurationError("The supervisor was killed; everything else was stopped.")
    _say("Eventify is stopped.")


@main.command()
def down() -> None:
    """Stop what `up` started."""
    home = find_home()
    if take_down(home):
        click.echo("Eventify is stopped.")
    else:
        click.echo(f"Nothing is running in {home.path}.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs; with passwords.")
def status(as_json: bool) -> None:
    """What runs, where, and how often it was restarted.

    Exit code 1 if nothing runs, 2 if what runs has lost its supervisor.
    """
    home = find_home()
    try:
        report = status_report(home)
    except SupervisorAwayError:
        if not as_json:
            raise
        report = None
    if as_json:
        click.echo(json.dumps(report or {"running": False}, indent=2))
    elif report is None:
        raise ConfigurationError(f"Nothing is running in {home.path}.")
    else:
        if not report["supervised"]:
            click.echo(UNSUPERVISED)
        click.echo(status_text(report))
    if report is None:
        sys.exit(1)
    sys.exit(0 if report["supervised"] else RUNS_UNSUPERVISED)


@main.command()
def migrate() -> None:
    """Bring the database's schema, and what each service may do there, to the newest version.

    Also run it after a dump was restored, before Eventify is started: it makes the order of what
    is sold from then on provable.
    """
    settings = settings_of_running_system(find_home())
    with connections.database(settings) as engine:
        passed_over = connections.migrate_all(engine, settings, partial(_say, err=True))
        with engine.connect() as connection:
            version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if passed_over:
        click.echo(
            f"Passed over {passed_over:,} transaction ids, which the restored rows hold already."
        )
    click.echo(f"The schema is at version {version}.")


@main.command()
@click.argument("name")
@click.option("--count", type=int, help="Mint for the users NAME1 to NAMEn.")
def token(name: str, count: int | None) -> None:
    """Mint access tokens without a login, one a line; makes the users that are missing."""
    names = user_names(name, count)
    settings = settings_of_running_system(find_home())
    with connections.database_connection(settings) as connection:
        tokens = mint_tokens(connection, settings, names)
    for minted in tokens:
        click.echo(minted)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def audit(as_json: bool) -> None:
    """Replay every decision from the rows.

    Exit code 1 on any violation, 2 if the audit could not be run.
    """
    try:
        settings = settings_of_running_system(find_home())
        with connections.database(settings) as engine:
            report = audit_rows(engine, settings)
    except ConfigurationError as error:
        _say(f"Error: The audit could not be run: {error}", err=True)
        sys.exit(AUDIT_NOT_RUN)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        show_audit(Console(highlight=False), report)
    sys.exit(0 if report.ok else 1)


@main.command()
@click.argument("ticket_types", nargs=-1, required=True, type=TICKET_TYPE_ID)
def pause(ticket_types: tuple[int, ...]) -> None:
    """Accept nothing more of these TICKET_TYPES, given by their ids, until they are resumed.

    What is queued is decided all the same.
    """
    from deploy.cli.sale_control import pause_sales  # noqa: PLC0415 - the catalog takes its time

    with connections.database(settings_of_running_system(find_home())) as engine:
        pause_sales(engine, ticket_types, _say)


@main.command()
@click.argument("ticket_types", nargs=-1, required=True, type=TICKET_TYPE_ID)
def resume(ticket_types: tuple[int, ...]) -> None:
    """Accept purchases of these TICKET_TYPES again."""
    from deploy.cli.sale_control import resume_sales  # noqa: PLC0415 - as above

    with connections.database(settings_of_running_system(find_home())) as engine:
        resume_sales(engine, ticket_types, _say)


@main.command()
@click.option("--buyers", type=click.IntRange(1, 100_000), default=5_000, show_default=True)
@click.option("--tickets", type=click.IntRange(0, 1_000_000), default=500, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3_600),
    default=3.0,
    show_default=True,
    help="Within how long all buyers press the button.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Who wants what, and when.")
@click.option(
    "--chart",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=Path("demo.png"),
    show_default=True,
)
def demo(buyers: int, tickets: int, seconds: float, seed: int, chart: Path) -> None:
    """A real on-sale over HTTP: live, then summed up, audited, and drawn.

    Brings a system up if none runs, and takes it down again at the end.
    """
    restore_stop_signals()
    _check_chart(chart)
    try:
        # Drawing takes most of a second to import, which no other command should wait for.
        from loadtests.demo.run import Plan, run_demo  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed here: the demo needs Eventify's extra `local`."
        ) from error

    plan = Plan(buyers, tickets, seconds, chart, seed)
    home = find_home()
    with _running_system(home) as gateway_url:
        settings = settings_of_running_system(home)
        with connections.database(settings) as engine:
            kept = run_demo(plan, gateway_url, settings, engine, Console(highlight=False))
    sys.exit(0 if kept else 1)


@contextmanager
def _running_system(home: Home) -> Iterator[str]:
    """The gateway's URL of what runs in this home, or of what is brought up for this once."""
    state = running_state(home)
    if state is not None:
        yield state.gateway_url
        return
    if unsupervised_processes(home):
        raise ConfigurationError(
            "Eventify runs without its supervisor, which was killed. `eventify up` takes over."
        )
    _say("Nothing is running, so Eventify is brought up for this demo:")
    wish = local_up.Wish("127.0.0.1", free_port(), gateways=1, workers=1)
    # Starting and stopping are not torn apart by a signal; what runs in between is.
    with stop_noted() as stop_requested:
        system = local_up.start(home, wish, _say, stop_requested)
        try:
            with stop_interrupts():
                if stop_requested():
                    raise KeyboardInterrupt
                yield system.state.gateway_url
        finally:
            local_up.stop(system)
            _say("Eventify is stopped.")


def _check_chart(chart: Path) -> None:
    """Fail before a sale is held that could then not be drawn.

    Raises:
        ConfigurationError: the folder does not exist or cannot be written, or no such chart can.
    """
    if chart.suffix.lower() not in CHART_FORMATS:
        raise ConfigurationError(
            f"Cannot draw {chart}: its name must end in {', '.join(CHART_FORMATS)}."
        )
    try:
        with TemporaryFile(dir=chart.parent):
            pass
    except OSError as error:
        raise ConfigurationError(f"Cannot write {chart}: {error.strerror}.") from error


def _say(line: str, *, err: bool = False) -> None:
    # A terminal that closed must not keep us from stopping what we started.
    with suppress(OSError):
        click.echo(line, err=err)


def _what_to_try(system: local_up.System, detached: bool) -> str:
    url, command = system.state.gateway_url, _command()
    stop = f"{command} down" if detached else "Ctrl-C"
    public = system.settings.public_url
    return f"""\
  gateway    {url}{f" (clients: {public})" if public else ""}
  API docs   {url}/api/docs/
  metrics    {url}/metrics
  database   {connections.where(system.settings.database_url)}
  logs       {system.home.logs}

Try:
  {command} demo
  {command} status
  curl {url}/api/events/ -H "Authorization: Bearer $({command} token somebody)"

{stop} stops it."""


def _command() -> str:
    """How the operator calls this command."""
    called_as = Path(sys.argv[0])
    if called_as.name != "eventify" or shutil.which("eventify"):
        return "eventify"
    return os.path.relpath(called_as)
