"""Hosts that share nothing but a network: Linux network namespaces, each on a line to one router.

What a line loses, it loses without a word: no reset, no "unreachable", as when a machine, a switch
or a firewall between them dies. Loopback can't do that: there the kernel knows at once.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAMES_START = "eventify-"
NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
ENDED_WITHIN_SECONDS = 10

_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """What this machine lacks for network namespaces, as the end of a sentence; "" for nothing."""
    if os.geteuid() != 0:
        return "root"
    if shutil.which("ip") is None:
        return "the command `ip` (Debian's package iproute2)"
    return ""


class Network:
    """A router, and hosts at lines of their own; `close` ends all that runs on them."""

    def __init__(self) -> None:
        self._prefix = f"{NAMES_START}{os.getpid()}-"
        self._router = f"{self._prefix}router"
        self._addresses: dict[str, str] = {}
        self._muted: set[str] = set()
        _ip("netns", "add", self._router)
        with _inside(self._router):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def address(self, host: str) -> str:
        """The host's address; it keeps it for ever."""
        if host not in self._addresses:
            self._addresses[host] = f"10.77.{len(self._addresses) + 1}.2"
        return self._addresses[host]

    def add(self, host: str) -> None:
        """A new host with nothing in it; also for one that was taken away."""
        namespace, line, address = self._namespace(host), f"to-{host}", self.address(host)
        gateway = address.removesuffix("2") + "1"
        router, inside = ("-n", self._router), ("-n", namespace)
        _ip("netns", "add", namespace)
        peer = ("peer", "name", "eth0", "netns", namespace)
        _ip(*router, "link", "add", "name", line, "type", "veth", *peer)
        _ip(*router, "address", "add", f"{gateway}/24", "dev", line)
        _ip(*router, "link", "set", line, "up")
        _ip(*inside, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip(*inside, "link", "set", device, "up")
        _ip(*inside, "route", "add", "default", "via", gateway)

    def remove(self, host: str) -> None:
        """The host loses its power: no process of it says good-bye, and no socket either."""
        self.silence(host)
        if self._namespace(host) in _namespaces(self._prefix):
            # First the line: what a socket has not sent yet keeps its namespace alive for minutes.
            _ip("-n", self._router, "link", "delete", f"to-{host}")
            _take_away(self._namespace(host))

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """This thread, and what it starts, is on that host until the block ends."""
        with _inside(self._namespace(host)):
            yield

    def silence(self, host: str) -> None:
        """Nothing comes to that host or from it any more."""
        self.stop_consuming(host)
        self.mute(host)

    def stop_consuming(self, host: str) -> None:
        """Nothing comes to that host any more; what it sends arrives."""
        _ip("-n", self._router, "route", "replace", "blackhole", f"{self.address(host)}/32")

    def mute(self, host: str) -> None:
        """Nothing comes from that host any more; what others send arrives there."""
        if host not in self._muted:
            _ip("-n", self._router, "rule", "add", "from", self.address(host), "blackhole")
            self._muted.add(host)

    def mend(self, host: str) -> None:
        """The line of that host carries everything again."""
        _ip("-n", self._router, "route", "flush", "exact", f"{self.address(host)}/32")
        if host in self._muted:
            _ip("-n", self._router, "rule", "delete", "from", self.address(host), "blackhole")
            self._muted.remove(host)

    def unplug(self, host: str) -> None:
        """Its cable is out; the router tells whoever asks that there is no way to it."""
        _ip("-n", self._router, "link", "set", f"to-{host}", "down")

    def plug(self, host: str) -> None:
        _ip("-n", self._router, "link", "set", f"to-{host}", "up")

    def lose(self, share: float) -> None:
        """Lose this share of all packets, at random; 0 for none."""
        with _inside(self._router):
            subprocess.run(["iptables", "-F", "FORWARD"], check=True)
            if share:
                rule = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
                subprocess.run(["iptables", "-A", "FORWARD", *rule, "-j", "DROP"], check=True)

    def close(self) -> None:
        for namespace in _namespaces(self._prefix):
            _take_away(namespace)

    def _namespace(self, host: str) -> str:
        return f"{self._prefix}{host}"


@contextmanager
def a_network() -> Iterator[Network]:
    """A network of its own until the block ends; what a run that was killed left is taken away."""
    for namespace in _namespaces(NAMES_START):
        owner = namespace.removeprefix(NAMES_START).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            _take_away(namespace)
    network = Network()
    try:
        yield network
    finally:
        network.close()


def _namespaces(prefix: str) -> list[str]:
    if not NAMESPACES.exists():
        return []
    return sorted(file.name for file in NAMESPACES.iterdir() if file.name.startswith(prefix))


def _take_away(namespace: str) -> None:
    """End what runs in it and remove it; its lines go with it, and its sockets."""
    deadline = time.monotonic() + ENDED_WITHIN_SECONDS
    while (pids := _ip("netns", "pids", namespace).split()) and time.monotonic() < deadline:
        for pid in map(int, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    _ip("netns", "delete", namespace)


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """Threads are in a network namespace each; who is started by one begins in its."""
    with Path("/proc/thread-self/ns/net").open() as before:
        with (NAMESPACES / namespace).open() as there:
            _enter(there.fileno())
        try:
            yield
        finally:
            _enter(before.fileno())


def _enter(file_descriptor: int) -> None:
    if _libc.setns(file_descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> str:
    """What `ip` prints.

    Raises:
        RuntimeError: it failed, with its reason.
    """
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
