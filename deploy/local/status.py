"""Tells what runs on this machine."""

from dataclasses import asdict
from typing import Any

from deploy.connections import where
from deploy.local.home import Home, running_state
from deploy.local.supervisor_client import SupervisorClient


def status_report(home: Home) -> dict[str, Any] | None:
    """What runs in this home, as `eventify status --json` prints it; None when nothing does.

    Raises:
        SupervisorAwayError: it is just starting or ending.
    """
    state = running_state(home)
    if state is None:
        return None
    processes = SupervisorClient(state.supervisor_socket).processes()
    return {
        "running": True,
        "gateway_url": state.gateway_url,
        "catalog_url": state.catalog_url,
        "database_url": state.database_url,
        "redis_url": state.redis_url,
        "processes": [asdict(process) for process in processes],
    }


def status_text(report: dict[str, Any]) -> str:
    """The same for a person, without passwords."""
    lines = [
        f"gateway   {report['gateway_url']}",
        f"catalog   {report['catalog_url']}",
        f"database  {where(report['database_url'])}",
        f"redis     {where(report['redis_url'])}",
        "",
        f"{'process':<12} {'state':<10} {'pid':>8} {'restarts':>9}",
    ]
    lines += [
        f"{process['name']:<12} {process['state']:<10} {process['pid'] or '-':>8}"
        f" {process['restarts']:>9}"
        for process in report["processes"]
    ]
    return "\n".join(lines)
