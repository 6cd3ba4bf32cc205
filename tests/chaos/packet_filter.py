"""A machine that vanished: its packets are dropped by the kernel's own filter.

There is no reset and no acknowledgement. That is where TCP's own limits count, which no proxy
can try. The rules name one port of the loopback interface, and go with the block.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import psutil

from shared.free_port import free_port

# A rule's comment says whose it is: `eventify-test-PID`.
OURS = "eventify-test-"


class PacketFilter:
    """What is dropped now."""

    def __init__(self) -> None:
        self._ports: list[int] = []

    @property
    def drops(self) -> bool:
        return bool(self._ports)

    def drop(self, port: int) -> None:
        """Whatever is sent to this port, or from it."""
        _change("--insert", port)
        self._ports.append(port)

    def let_pass(self) -> None:
        """Everything again."""
        while self._ports:
            _change("--delete", self._ports.pop())


@cache
def can_drop() -> bool:
    """Whether we may; root in a container often may not, which only a try shows."""
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        return False
    try:
        with packet_filter() as trial:
            trial.drop(free_port())
    except subprocess.CalledProcessError:
        return False
    return True


@contextmanager
def packet_filter() -> Iterator[PacketFilter]:
    """One that lets everything pass when the block ends."""
    packets = PacketFilter()
    try:
        yield packets
    finally:
        packets.let_pass()


def drop_leftovers() -> None:
    """Take away the rules of earlier runs that were killed."""
    if not can_drop():
        return
    for rule in _iptables("--list-rules", "INPUT").splitlines():
        words = rule.split()
        owner = next((word.strip('"') for word in words if OURS in word), None)
        if owner is not None and not psutil.pid_exists(int(owner.removeprefix(OURS))):
            with suppress(subprocess.CalledProcessError):  # another run is quicker
                _iptables("--delete", *(word.strip('"') for word in words[1:]))


def _change(action: str, port: int) -> None:
    for side in ("--dport", "--sport"):
        _iptables(
            *(action, "INPUT", "--in-interface", "lo", "--protocol", "tcp", side, str(port)),
            *("--match", "comment", "--comment", f"{OURS}{os.getpid()}", "--jump", "DROP"),
        )


def _iptables(*arguments: str) -> str:
    done = subprocess.run(
        ["iptables", "--wait", *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout
