"""What befalls hosts: their line goes silent, their power goes, the network loses packets."""

import shutil
import time

from tests.chaos.faults.fault import Effect, Fault
from tests.environments.hosts.system import SystemOfHosts
from tests.support.factories import rows

# A backend of that host that stands in the middle of a transaction that has written something.
HOLDS_A_LOCK = """
SELECT count(*) FROM pg_stat_activity
WHERE host(client_addr) = :address AND application_name = 'eventify-worker'
AND state = 'idle in transaction' AND backend_xid IS NOT NULL
"""
CAUGHT_WITHIN_SECONDS = 30.0


class HostFault(Fault):
    """`host`: whom it befalls."""

    hold_seconds = 4.0
    effect = Effect.GOES_ON

    def __init__(self, system: SystemOfHosts, host: str) -> None:
        super().__init__(system)
        self.hosts = system
        self.host = system.hosts[host]

    def heal(self) -> None:
        self.hosts.network.mend(self.host.name)


class Silence(HostFault):
    """Nothing goes in or out, and nobody is told."""

    def strike(self) -> None:
        self.hosts.network.silence(self.host.name)
        self.strikes += 1


class IncomingCut(HostFault):
    """What it sends arrives; no answer does."""

    def strike(self) -> None:
        self.hosts.network.stop_consuming(self.host.name)
        self.strikes += 1


class Muteness(HostFault):
    """It hears everything, and nobody hears it."""

    def strike(self) -> None:
        self.hosts.network.mute(self.host.name)
        self.strikes += 1


class Unplugged(HostFault):
    """Its cable is out, which the network tells everybody."""

    def strike(self) -> None:
        self.hosts.network.unplug(self.host.name)
        self.strikes += 1

    def heal(self) -> None:
        self.hosts.network.plug(self.host.name)


class PowerLost(HostFault):
    """It is gone without a word, and boots again later."""

    def strike(self) -> None:
        self.host.lose()
        self.strikes += 1

    def heal(self) -> None:
        self.host.boot()


class LostWithTheLock(PowerLost):
    """A worker's host is gone while its transaction holds the lanes."""

    hold_seconds = 15.0

    def strike(self) -> None:
        child = self.hosts.process(self.host.name).children()[0]
        deadline = time.monotonic() + CAUGHT_WITHIN_SECONDS
        while time.monotonic() < deadline:
            child.suspend()
            ((caught,),) = rows(self.hosts.engine, HOLDS_A_LOCK, address=self.host.address)
            if caught:
                super().strike()
                return
            child.resume()
            time.sleep(0.005)


class PacketsLost(HostFault):
    """Of all that travels between any two hosts, one packet in twenty is lost."""

    needs = "" if shutil.which("iptables") else "the command `iptables`"

    def strike(self) -> None:
        self.hosts.network.lose(0.05)
        self.strikes += 1

    def heal(self) -> None:
        self.hosts.network.lose(0)


class StandbySilent(Silence):
    """Nothing is confirmed meanwhile, so nothing is accepted."""

    effect = Effect.ANYTHING

    def __init__(self, system: SystemOfHosts) -> None:
        super().__init__(system, system.host_of(system.pair.standby))


class PrimaryLost(PowerLost):
    """The primary's host is gone for good; the standby is promoted after a while."""

    hold_seconds = 5.0
    effect = Effect.ANYTHING

    def __init__(self, system: SystemOfHosts) -> None:
        super().__init__(system, system.host_of(system.pair.primary))

    def heal(self) -> None:
        self.hosts.engine.dispose()  # its connections lead to the host that is gone
        self.hosts.pair.promote()

    def make_whole(self) -> None:
        """The host comes back, and its server as the standby."""
        if self.host.is_lost:
            self.host.boot(start=False)
            self.hosts.pair.join()
