"""The database's machine is lost for ever, and its standby takes over."""

import signal
import time

from tests.chaos.faults.fault import UNAVAILABLE_SECONDS, Effect, Fault
from tests.chaos.packet_filter import can_drop
from tests.chaos.system_with_standby import SystemWithStandby

# Longer than the sweeper leaves anything queued: decisions, too, then wait for the standby.
CANCELLING_SECONDS = 3.0
LOOK_SECONDS = 0.02


class _Failover(Fault):
    """Healed by the standby's promotion; the next round first makes the pair whole again."""

    system: SystemWithStandby

    def __init__(self, system: SystemWithStandby) -> None:
        super().__init__(system)
        self._pair = system.pair

    def prepare(self) -> None:
        if self.system.packets.drops:
            self._pair.standby.kill()
            self.system.packets.let_pass()
        if not self._pair.standby.runs:
            self._pair.join()

    def heal(self) -> None:
        self._pair.standby.start()
        self._pair.promote()


class PrimaryUnreachable(_Failover):
    """Packets to and from its machine are dropped silently.

    So it stays when the standby has taken over: the services know its name, and ask for it first.
    """

    hold_seconds = UNAVAILABLE_SECONDS
    effect = Effect.UNAVAILABLE
    needs = "" if can_drop() else "the right to drop packets (root, and iptables)"

    def strike(self) -> None:
        self.system.packets.drop(self._pair.primary.port)
        self.strikes += 1


class PrimaryLost(_Failover):
    """All of its processes end at once, in the middle of the sale."""

    hold_seconds = UNAVAILABLE_SECONDS
    effect = Effect.UNAVAILABLE

    def strike(self) -> None:
        self._pair.primary.kill()
        self.strikes += 1


class PrimaryLostAfterStandby(_Failover):
    """First the standby goes, so that nothing more can be kept twice; then the primary.

    Meanwhile the waiting commits are cancelled. PostgreSQL then shows them as if they counted;
    the standby, which takes over as it was, has none of them.
    """

    hold_seconds = 0.5

    def strike(self) -> None:
        self._pair.standby.end(signal.SIGINT)
        over_at = time.monotonic() + CANCELLING_SECONDS
        while time.monotonic() < over_at:
            self.strikes += self._pair.cancel_waits()
            time.sleep(LOOK_SECONDS)
        self._pair.primary.kill()
