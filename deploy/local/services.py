"""The processes of Eventify on one machine, in the order in which they start."""

import sys

from deploy.local.program import Program, ProgramGroup
from shared.settings import Settings

SERVERS, SERVICES, DOOR = "servers", "services", "door"
# After its own limit a process still closes its connections.
STOP_MARGIN_SECONDS = 5


def service_groups(settings: Settings, gateways: int, workers: int) -> tuple[ProgramGroup, ...]:
    """The services, and after them the gateways, which therefore are the first to stop."""

    def service(name: str, module: str, *, kill_as_group: bool = False) -> Program:
        return Program(
            name,
            # -P: a folder named `catalog` where the operator stands must not be taken for ours.
            (sys.executable, "-P", "-m", module),
            stop_seconds=settings.shutdown_seconds + STOP_MARGIN_SECONDS,
            kill_as_group=kill_as_group,
        )

    services = (
        service("catalog-1", "catalog"),
        *(
            # Asked to stop, Celery ends its children itself; killed, it cannot.
            service(f"worker-{number}", "purchase_worker", kill_as_group=True)
            for number in range(1, workers + 1)
        ),
        service("sweeper-1", "purchase_worker.sweep"),
    )
    door = tuple(service(f"gateway-{number}", "gateway") for number in range(1, gateways + 1))
    return ProgramGroup(SERVICES, services), ProgramGroup(DOOR, door)
