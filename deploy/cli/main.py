"""The operator's command, `eventify`."""

import gc
import os
import sys
from importlib import import_module
from typing import Any

import click

from deploy.cli.output import say
from shared.errors import ConfigurationError

# What a shell reports of a program that Ctrl-C ended: 128 and the signal's number.
INTERRUPTED = 130
# The module of each command, and its line in `eventify --help`. Commands are imported when they are
# called: some take half a second.
COMMANDS = {
    "up": ("deploy.cli.up:up", "Start everything; Ctrl-C stops it."),
    "down": ("deploy.cli.down:down", "Stop what `up` started."),
    "status": ("deploy.cli.status:status", "List the processes and their restarts."),
    "demo": ("deploy.cli.demo:demo", "Run an on-sale, with summary, audit and chart."),
    "audit": ("deploy.cli.audit:audit", "Replay every decision from the rows."),
    "export": ("deploy.cli.export:export_event", "Write an event's whole ledger."),
    "explain": ("deploy.cli.explain:explain", "Explain why a purchase was confirmed or rejected."),
    "pause": ("deploy.cli.pause:pause", "Stop the sale of ticket types."),
    "resume": ("deploy.cli.pause:resume", "Start the sale of ticket types again."),
    "migrate": ("deploy.cli.migrate:migrate", "Bring the database to the newest schema."),
    "wait-for-schema": (
        "deploy.cli.wait_for_schema:wait_for_schema",
        "Wait until the database has the schema of this version.",
    ),
    "settings": ("deploy.cli.settings:settings", "Print the settings in force, without secrets."),
    "keys": ("deploy.cli.keys:keys", "List, add and remove the keys that sign tokens."),
    "token": ("deploy.cli.token:token", "Mint access tokens without a login."),
    "user": ("deploy.cli.user:user", "Show an account, set its password, lock and unlock it."),
    "kubernetes-secrets": (
        "deploy.cli.kubernetes_secrets:kubernetes_secrets",
        "Print the secrets that deploy/kubernetes refers to.",
    ),
}


class LazyGroup(click.Group):
    """Imports a command when it is called, and reports an operator's mistake in one sentence.

    Exit code 1 for a mistake, 130 for an interruption; neither shows a traceback.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        # Collections while modules are imported find nothing, and cost a seventh of the start.
        gc.disable()
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"{error.name} is not installed here: `{name}` needs Eventify's extra `local`."
            ) from error
        finally:
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        _open_standard_streams()
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            say("Interrupted.", err=True)
            sys.exit(INTERRUPTED)


def _open_standard_streams() -> None:
    """Open each that the caller closed (`<&-`), so that nothing else gets its descriptor.

    A child gets other streams in their place: the supervisor would lose the lock, or a port, that
    it is to keep.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eventify", prog_name="eventify", message="%(prog)s %(version)s")
def main() -> None:
    """Eventify, the engine for ticket on-sales, on this machine.

    Its data is in EVENTIFY_HOME (default: .eventify). It runs its own PostgreSQL and Valkey unless
    EVENTIFY_DATABASE_URL or EVENTIFY_REDIS_URL name others.
    """
