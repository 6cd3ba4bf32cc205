"""Hashes passwords with Argon2id, in few threads, so that a login storm cannot starve purchases."""

from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.bounded_executor import BoundedExecutor
from shared.settings import Settings

# OWASP's Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Whether the password is right; and a new hash, if the stored one is of older parameters."""

    right: bool
    replacement: str | None = None


class Passwords:
    """Raises Unavailable from both calls when too many are waiting. Addresses take turns."""

    def __init__(self, settings: Settings) -> None:
        self._executor = BoundedExecutor(
            "passwords",
            threads=settings.password_hash_threads,
            waiting_max=settings.password_hash_waiting_max,
        )
        # Checked when there is no such user: the answer must take as long as for a wrong password.
        self._nobodys_hash = HASHER.hash("nobody's password")

    async def hash(self, password: str, address: str) -> str:
        return await self._executor.run_for(address, HASHER.hash, password)

    async def check(self, stored_hash: str | None, password: str, address: str) -> PasswordCheck:
        """Compare with a stored hash; with None take the same time and find it wrong."""
        if stored_hash is None:
            await self._executor.run_for(address, _check, self._nobodys_hash, password)
            return PasswordCheck(right=False)
        return await self._executor.run_for(address, _check, stored_hash, password)

    def close(self) -> None:
        self._executor.close()


def _check(stored_hash: str, password: str) -> PasswordCheck:
    try:
        HASHER.verify(stored_hash, password)
    except (VerificationError, InvalidHashError):
        return PasswordCheck(right=False)
    if HASHER.check_needs_rehash(stored_hash):
        return PasswordCheck(right=True, replacement=HASHER.hash(password))
    return PasswordCheck(right=True)
