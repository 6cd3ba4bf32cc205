"""supervisord's configuration: which programs it runs, and how.

It has no secrets (programs inherit supervisord's environment) and, except in commands, no paths
(supervisord runs in EVENTIFY_HOME), because its format cuts lines at ` ;` and expands `%`.
"""

import os
import re
from collections.abc import Iterable, Sequence

from deploy.local.supervisor.program import Program, ProgramGroup

# Enough for a day of an ordinary system; the logs of one program never take more than 40 MB.
LOG_MAX_BYTES = 10_000_000
LOG_BACKUPS = 3
# It never gives up: restarts.py limits the pauses, and keeps the count far below.
START_RETRIES = 1_000_000
# A program that exits sooner after its start is restarted after a pause.
START_SECONDS = 1


def supervisor_config(groups: Sequence[ProgramGroup], socket_path: str) -> str:
    """Groups start in this order and stop in reverse."""
    sections = [
        _section(
            "supervisord",
            nodaemon="true",
            silent="true",
            nocleanup="true",
            logfile="logs/supervisord.log",
            logfile_maxbytes=LOG_MAX_BYTES,
            logfile_backups=LOG_BACKUPS,
            pidfile="supervisord.pid",
            minprocs=1,
            # supervisord warns without it.
            **({"user": "root"} if os.geteuid() == 0 else {}),
        ),
        _section("unix_http_server", file=socket_path, chmod="0700"),
        *(
            _section(f"rpcinterface:{name}", **{"supervisor.rpcinterface_factory": factory})
            for name, factory in (
                ("supervisor", "supervisor.rpcinterface:make_main_rpcinterface"),
                ("eventify", "deploy.local.supervisor.restarts:make_rpcinterface"),
            )
        ),
    ]
    for place, group in enumerate(groups):
        names = ",".join(program.name for program in group.programs)
        sections.append(_section(f"group:{group.name}", programs=names, priority=place))
        sections += [_program(program, group.autostart) for program in group.programs]
    return "\n".join(sections)


def _program(program: Program, autostart: bool) -> str:
    return _section(
        f"program:{program.name}",
        command=command_line(program.argv),
        **({"environment": _environment(program)} if program.environment else {}),
        # PostgreSQL runs as another user, who may have no access to EVENTIFY_HOME.
        **({"user": program.user, "directory": "/"} if program.user else {}),
        autostart=str(autostart).lower(),
        autorestart="true",
        startsecs=START_SECONDS,
        startretries=START_RETRIES,
        stopsignal=program.stop_signal.name.removeprefix("SIG"),
        stopwaitsecs=program.stop_seconds,
        killasgroup=str(program.kill_as_group).lower(),
        redirect_stderr="true",
        stdout_logfile=f"logs/{program.name}.log",
        stdout_logfile_maxbytes=LOG_MAX_BYTES,
        stdout_logfile_backups=LOG_BACKUPS,
    )


def _environment(program: Program) -> str:
    """supervisord expands the values from its own environment."""
    values = {name: source and f"%(ENV_{source})s" for name, source in program.environment.items()}
    return ",".join(f'{name}="{value}"' for name, value in values.items())


def command_line(argv: Iterable[str]) -> str:
    """Quoted so that supervisord splits it into exactly these arguments."""
    # A backslash before each unusual character also parts a space from `;` and `#`, which would
    # otherwise begin a comment.
    words = (re.sub(r"[^\w@+=:,./%-]", r"\\\g<0>", word) for word in argv)
    # The quotes keep a space at the very end, which the file's reader would cut off.
    return " ".join(words).replace("%", "%%") + '""'


def _section(name: str, **values: object) -> str:
    return "".join([f"[{name}]\n", *(f"{key}={value}\n" for key, value in values.items())])
