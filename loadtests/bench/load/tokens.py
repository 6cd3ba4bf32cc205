"""Access tokens by the thousand, minted beforehand."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

from loadtests.bench.system.eventify import BenchSystem

# One process of `eventify token` for each core of the machines that the targets are for.
PROCESSES = 2
_crowds = count(1)


def mint_tokens(system: BenchSystem, how_many: int) -> list[str]:
    """New tokens of new users, whom no gateway has seen yet: 0.6 ms of CPU each."""
    parts = [(how_many + n) // PROCESSES for n in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as threads:
        minted = threads.map(
            lambda part: _mint(system, f"crowd{next(_crowds)}-", part), filter(None, parts)
        )
        return [token for tokens in minted for token in tokens]


def mint_for_buyers(system: BenchSystem, how_many: int) -> list[str]:
    """One token for each of the users `buyer1` to `buyer<how_many>`, in order."""
    return _mint(system, "buyer", how_many)


def _mint(system: BenchSystem, name: str, how_many: int) -> list[str]:
    return system.command("token", name, "--count", str(how_many)).splitlines()
