"""The processes of Eventify on one machine, in the order in which they start."""

import sys

from deploy.local.supervisor.program import STOP_MARGIN_SECONDS, Program, ProgramGroup
from shared.config.settings import Settings, variable
from shared.database.logins import ROLE_OF_SETTING, login_urls

SERVERS, SERVICES, GATEWAYS = "servers", "services", "gateways"


def service_groups(settings: Settings, gateways: int, workers: int) -> tuple[ProgramGroup, ...]:
    """In start order; the gateways are the last to start and the first to stop."""

    def service(
        name: str, module: str, database_url: str, *, kill_as_group: bool = False
    ) -> Program:
        return Program(
            name,
            # -P: a folder named `catalog` in the working directory must not be imported.
            (sys.executable, "-P", "-m", module),
            stop_seconds=settings.shutdown_seconds + STOP_MARGIN_SECONDS,
            kill_as_group=kill_as_group,
            environment=_own_login(settings, database_url),
        )

    services = (
        service("catalog-1", "catalog", "catalog_database_url"),
        *(
            # Celery stops its children itself, except when it is killed.
            service(
                f"worker-{number}",
                "purchase_worker",
                "worker_database_url",
                kill_as_group=True,
            )
            for number in range(1, workers + 1)
        ),
        service("sweeper-1", "purchase_worker.sweep", "worker_database_url"),
        service("sender-1", "webhook_sender", "sender_database_url"),
    )
    gateway_programs = tuple(
        service(f"gateway-{number}", "gateway", "gateway_database_url")
        for number in range(1, gateways + 1)
    )
    return ProgramGroup(SERVICES, services), ProgramGroup(GATEWAYS, gateway_programs)


def _own_login(settings: Settings, setting: str) -> dict[str, str]:
    """The service's own login as its database URL, without the others'; empty without logins."""
    if setting not in login_urls(settings):
        return {}
    others = {variable(other): "" for other in ROLE_OF_SETTING}
    return others | {variable("database_url"): variable(setting)}
