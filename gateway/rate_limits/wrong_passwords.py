"""Limits how often the password of one account may be guessed, without locking its owner out."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

from gateway.rate_limits.by_name import WAITING_MAX
from gateway.rate_limits.limiter import RateLimiter
from gateway.rate_limits.token_bucket import Rate
from shared.auth.usernames import TYPED_MAX_CHARACTERS
from shared.concurrency.bounded_executor import BoundedExecutor
from shared.config.settings import Settings
from shared.messaging.circuit_breaker import CircuitBreaker
from shared.messaging.redis_client import open_redis
from shared.observability.logging import get_logger
from shared.text import folded

# An owner who mistypes stays below; guessing gets 8,640 attempts a day from all addresses
# together. (NIST SP 800-63B, 5.2.2, allows 100 wrong ones in a row.)
WRONG_PASSWORDS = Rate(burst=30, per_second=0.1)
# An address is remembered this long after the account's last sign-in from it.
FAMILIAR_SECONDS = 30 * 86_400
# Those of the newest sign-ins, in Redis: 91 bytes each. Without a limit a million sign-ins a day
# would take all of its memory within days, from results and from limits of rates.
FAMILIAR_MAX = 500_000
FAMILIAR_KEY = "eventify:familiar"
# Of those in memory the oldest are dropped: about 10 MB.
REMEMBERED_ROWS = 50_000

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to sign in. `bucket`: where its token was drawn; None: there is no limit."""

    bucket: str | None
    origin: str


class AccountLimit:
    """Wrong passwords of one account: from each familiar address, and from all others together.

    An address is familiar from which the account has signed in, or was registered. Attackers, from
    any number of addresses, empty the bucket of the others: an owner at a familiar address is not
    locked out, and at a new one only while the guessing goes on. Unknown names are treated alike,
    so the responses do not reveal which names exist.

    Names share a bucket where one account could be meant. A familiar address is of one account
    alone: who owns an account of a similar name could otherwise make any address familiar.
    """

    def __init__(self, settings: Settings) -> None:
        sign_ins = Rate(settings.sign_in_rate_burst, settings.sign_in_rate_per_second)
        self._is_lifted = sign_ins.is_unlimited
        self._limiter = RateLimiter("sign-in-account", WRONG_PASSWORDS, settings)
        self._familiar = FamiliarOrigins(settings)
        self._threads = BoundedExecutor("sign-in-account", threads=1, waiting_max=WAITING_MAX)

    async def begin(self, username: str, user_id: int | None, address: str) -> Attempt:
        """Take a token for an attempt.

        Args:
            username: normalized for the look-up.
            user_id: of the account that it found; None: there is none.
            address: of the client, or its network.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        account, origin = _digest(account_key(username)), _origin(user_id, address)
        if self._is_lifted:
            return Attempt(None, origin)
        return await self._threads.run_for(address, self._begin, account, origin)

    async def give_back(self, attempt: Attempt) -> None:
        """Return the token of an attempt that did not get as far as the password."""
        if attempt.bucket is not None:
            await self._threads.run_for(attempt.origin, self._limiter.give_back, attempt.bucket)

    async def succeeded(self, attempt: Attempt) -> None:
        """Return the token of a right password, and remember its address."""
        await self.give_back(attempt)
        await self._remember(attempt.origin)

    async def registered(self, user_id: int, address: str) -> None:
        await self._remember(_origin(user_id, address))

    def close(self) -> None:
        self._threads.close()
        self._limiter.close()
        self._familiar.close()

    async def _remember(self, origin: str) -> None:
        if not self._is_lifted:
            await self._threads.run_for(origin, self._familiar.add, origin)

    def _begin(self, account: str, origin: str) -> Attempt:
        bucket = origin if origin in self._familiar else account
        self._limiter.raise_if_known_empty(bucket)
        (drawn,) = self._limiter.draw([bucket])
        self._limiter.settle(drawn)
        return Attempt(bucket, origin)


class FamiliarOrigins:
    """Accounts with an address each, in Redis; in memory while it is unavailable.

    In Redis they are one sorted set, by the time of the last sign-in.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis = open_redis(settings)
        self._breaker = CircuitBreaker(logger, "familiar_addresses_not_shared")
        self._own: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, origin: str) -> bool:
        if self._own.get(origin, 0.0) > time.monotonic():
            return True
        signed_in_at = self._breaker.call(lambda: self._redis.zscore(FAMILIAR_KEY, origin))
        return signed_in_at is not None and signed_in_at > time.time() - FAMILIAR_SECONDS

    def add(self, origin: str) -> None:
        self._own[origin] = time.monotonic() + FAMILIAR_SECONDS
        self._own.move_to_end(origin)
        while len(self._own) > REMEMBERED_ROWS:
            self._own.popitem(last=False)
        self._breaker.call(lambda: self._add_to_redis(origin))

    def close(self) -> None:
        self._redis.close()

    def _add_to_redis(self, origin: str) -> None:
        now = time.time()
        with self._redis.pipeline(transaction=False) as commands:
            commands.zadd(FAMILIAR_KEY, {origin: now})
            commands.zremrangebyscore(FAMILIAR_KEY, "-inf", now - FAMILIAR_SECONDS)
            commands.zremrangebyrank(FAMILIAR_KEY, 0, -FAMILIAR_MAX - 1)
            commands.expire(FAMILIAR_KEY, FAMILIAR_SECONDS)
            commands.execute()


def account_key(username: str) -> str:
    """The same for all spellings by which the database finds one account: they share a limit.

    Other names may have the same key.
    """
    if username.isascii() or len(username) > TYPED_MAX_CHARACTERS:
        return username.casefold()
    try:
        return folded(username)
    except ValueError:
        return username.casefold()


def _origin(user_id: int | None, address: str) -> str:
    return _digest(str(user_id), address)


def _digest(*parts: str) -> str:
    """No names and addresses in Redis; and of a bounded length."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
