"""Reports the processes of a system."""

from dataclasses import asdict
from typing import Any

from deploy.local.home import Home, is_locked, read_state
from deploy.local.leftovers import unsupervised_processes
from deploy.local.supervisor.client import SupervisorClient
from shared.config.url_passwords import without_passwords


def status_report(home: Home) -> dict[str, Any] | None:
    """The output of `eventify status --json`; None if nothing is running.

    `supervised` is false if the supervisor was killed and its processes are still running.

    Raises:
        SupervisorUnavailableError: it is starting or stopping.
    """
    state = read_state(home)
    if supervised := is_locked(home):
        if state is None:
            return None
        processes = SupervisorClient(state.supervisor_socket).processes()
    else:
        processes = unsupervised_processes(home)
        if not processes:
            return None
    return {
        "running": True,
        "supervised": supervised,
        **{
            name: getattr(state, name, None)
            for name in ("gateway_url", "catalog_url", "database_url", "redis_url")
        },
        "processes": [asdict(process) for process in processes],
    }


def status_text(report: dict[str, Any]) -> str:
    """The report as text, without passwords."""
    lines = [
        f"gateway   {report['gateway_url']}",
        f"catalog   {report['catalog_url']}",
        f"database  {without_passwords(report['database_url'] or '-')}",
        f"redis     {without_passwords(report['redis_url'] or '-')}",
        "",
        f"{'process':<12} {'state':<12} {'pid':>8} {'restarts':>9}",
    ]
    lines += [
        f"{process['name']:<12} {process['state']:<12} {process['pid'] or '-':>8}"
        f" {'-' if process['restarts'] is None else process['restarts']:>9}"
        for process in report["processes"]
    ]
    return "\n".join(lines)
