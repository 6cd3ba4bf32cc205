"""The processes of Eventify on one machine, in the order in which they start."""

import sys

from deploy.local.supervisor.program import Program, ProgramGroup
from shared.config.settings import Settings, variable
from shared.database.logins import ROLE_OF_SETTING, login_urls

SERVERS, SERVICES, DOOR = "servers", "services", "door"
# After its own limit a process still closes its connections.
STOP_MARGIN_SECONDS = 5


def service_groups(settings: Settings, gateways: int, workers: int) -> tuple[ProgramGroup, ...]:
    """The services, and after them the gateways, which therefore are the first to stop."""

    def service(
        name: str, module: str, database_url: str, *, kill_as_group: bool = False
    ) -> Program:
        return Program(
            name,
            # -P: a folder named `catalog` where the operator stands must not be taken for ours.
            (sys.executable, "-P", "-m", module),
            stop_seconds=settings.shutdown_seconds + STOP_MARGIN_SECONDS,
            kill_as_group=kill_as_group,
            environment=_own_login(settings, database_url),
        )

    services = (
        service("catalog-1", "catalog", "catalog_database_url"),
        *(
            # Asked to stop, Celery ends its children itself; killed, it cannot.
            service(
                f"worker-{number}",
                "purchase_worker",
                "worker_database_url",
                kill_as_group=True,
            )
            for number in range(1, workers + 1)
        ),
        service("sweeper-1", "purchase_worker.sweep", "worker_database_url"),
    )
    door = tuple(
        service(f"gateway-{number}", "gateway", "gateway_database_url")
        for number in range(1, gateways + 1)
    )
    return ProgramGroup(SERVICES, services), ProgramGroup(DOOR, door)


def _own_login(settings: Settings, setting: str) -> dict[str, str]:
    """Its own login as its database, and none of the others'; nothing where it has no own."""
    if setting not in login_urls(settings):
        return {}
    others = {variable(other): "" for other in ROLE_OF_SETTING}
    return others | {variable("database_url"): variable(setting)}
