"""Token buckets in Redis, shared by all gateways; in memory while Redis is unavailable."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.metrics import RATE_LIMITED
from gateway.rate_limits.token_bucket import (
    MICROSECONDS,
    Draw,
    Rate,
    draw,
    draw_of,
    policy_header,
    rate_limit_header,
)
from shared.config.settings import Settings
from shared.errors import TooManyRequests, retry_after
from shared.messaging.circuit_breaker import CircuitBreaker
from shared.messaging.redis_client import open_redis
from shared.observability.logging import get_logger

if TYPE_CHECKING:
    from redis.commands.core import Script

# Buckets in memory at most; the least recently used are dropped: about 10 MB.
REMEMBERED_ROWS = 50_000

# `token_bucket.draw` for each key in turn, at the clock of Redis, which all gateways share.
DRAW = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local answers = {}
for i, key in ipairs(KEYS) do
    local full_at = tonumber(redis.call('GET', key) or now) or now
    if full_at > now + span then full_at = now end
    local full_then = math.max(full_at, now) + interval
    local room = now + span - full_then
    if room < 0 then
        answers[i] = room
    else
        local milliseconds = math.ceil((full_then - now) / 1000)
        redis.call('SET', key, string.format('%.0f', full_then), 'PX', milliseconds)
        answers[i] = math.floor(room / interval)
    end
end
return answers
"""

# A bucket that is full again is gone, and needs nothing back.
GIVE_BACK = """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then
        redis.call('INCRBY', key, -ARGV[1])
    end
end
"""

logger = get_logger(__name__)


class RateLimiter:
    """Draws tokens for many keys in one call; several threads may use it at once.

    Without Redis it draws from buckets in memory.

    Args:
        name: of the policy, as in the `RateLimit` headers.
        rate: of each key's bucket.
        settings: where Redis is.
    """

    def __init__(self, name: str, rate: Rate, settings: Settings) -> None:
        self._name = name
        self._rate = rate
        self._redis = open_redis(settings)
        self._script = self._redis.register_script(DRAW)
        self._give_back = self._redis.register_script(GIVE_BACK)
        self._breaker = CircuitBreaker(logger, "rate_limits_not_shared", policy=name)
        self._limited = RATE_LIMITED.labels(name)  # exported as 0 from now on
        self._own: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._empty_until: OrderedDict[str, float] = OrderedDict()

    def draw(self, keys: Sequence[str]) -> list[Draw]:
        """One token for each key, in order; blocking."""
        answers = self._from_redis(keys) or self._from_own(keys)
        draws = [draw_of(answer) for answer in answers]
        for key, drawn in zip(keys, draws, strict=True):
            if drawn.retry_after_seconds is not None:
                self._remember_empty(key, drawn.retry_after_seconds)
        return draws

    def give_back(self, key: str) -> None:
        """Put a token back that was drawn; blocking."""
        with self._lock:
            if key in self._own:
                self._own[key] -= self._rate.interval
            self._empty_until.pop(key, None)
        self._asked_of_redis(self._give_back, [key], self._rate.interval)

    def raise_if_known_empty(self, key: str) -> None:
        """Without Redis, so that a flood costs little.

        Raises:
            TooManyRequests: the bucket is known to be empty.
        """
        empty_until = self._empty_until.get(key)
        if empty_until is None:
            return
        seconds = empty_until - time.monotonic()
        if seconds > 0:
            self.settle(Draw(0, seconds))
        with self._lock:
            self._empty_until.pop(key, None)

    def settle(self, drawn: Draw) -> Mapping[str, str]:
        """The headers of the response to a draw.

        Raises:
            TooManyRequests: the bucket was empty; it has the headers, too.
        """
        if drawn.retry_after_seconds is None:
            return self.headers(drawn)
        self._limited.inc()
        after = {"Retry-After": str(retry_after(drawn.retry_after_seconds))}
        raise TooManyRequests(headers={**after, **self.headers(drawn)})

    def headers(self, drawn: Draw) -> Mapping[str, str]:
        """`RateLimit` and `RateLimit-Policy` of a response."""
        return {
            "RateLimit-Policy": policy_header(self._name, self._rate),
            "RateLimit": rate_limit_header(self._name, self._rate, drawn),
        }

    def close(self) -> None:
        self._redis.close()

    def _from_redis(self, keys: Sequence[str]) -> list[int] | None:
        return self._asked_of_redis(self._script, keys, self._rate.interval, self._rate.span)

    def _asked_of_redis(
        self, script: "Script", keys: Sequence[str], *args: int
    ) -> list[int] | None:
        # With the rate: of a larger one, a bucket may be full later than any of this one.
        rate = f"{self._rate.burst}:{self._rate.interval}"
        names = [f"eventify:rate:{self._name}:{rate}:{key}" for key in keys]
        return self._breaker.call(lambda: script(keys=names, args=args))

    def _from_own(self, keys: Sequence[str]) -> list[int]:
        now = time.monotonic_ns() // (1_000_000_000 // MICROSECONDS)
        answers = []
        with self._lock:
            for key in keys:
                self._own[key], answer = draw(self._own.pop(key, now), now, self._rate)
                answers.append(answer)
            while self._own and (
                len(self._own) > REMEMBERED_ROWS or next(iter(self._own.values())) <= now
            ):
                self._own.popitem(last=False)
        return answers

    def _remember_empty(self, key: str, seconds: float) -> None:
        now = time.monotonic()
        with self._lock:
            self._empty_until[key] = now + seconds
            while (
                len(self._empty_until) > REMEMBERED_ROWS
                or next(iter(self._empty_until.values())) <= now
            ):
                self._empty_until.popitem(last=False)
