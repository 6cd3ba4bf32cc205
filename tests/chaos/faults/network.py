"""The way to a server is slow, cut, silent, or silent in one direction."""

from typing import ClassVar

from tests.chaos.faults.fault import Effect, Fault
from tests.chaos.line import FAIR, Line, Weather

SLOW = Weather(latency_seconds=0.1)
CUT = Weather(is_cut=True)
BLACK_HOLE = Weather(there=False, back=False)
# What is asked arrives, and is done; the answer does not.
NO_ANSWERS = Weather(back=False)


class _BadWeather(Fault):
    """On the ways to one server."""

    hold_seconds = 2.0
    weather: ClassVar[Weather]

    def lines(self) -> tuple[Line, ...]:
        raise NotImplementedError

    def strike(self) -> None:
        self._before = self._harmed()
        for line in self.lines():
            line.set_weather(self.weather)

    def heal(self) -> None:
        self.strikes += self._harmed() - self._before
        for line in self.lines():
            line.set_weather(FAIR)

    def _harmed(self) -> int:
        return sum(line.harmed for line in self.lines())


class _ToPostgres(_BadWeather):
    def lines(self) -> tuple[Line, ...]:
        return (self.system.database_line,)


class _ToRedis(_BadWeather):
    """As results and as broker. Selling goes on."""

    hold_seconds = 1.5
    effect = Effect.GOES_ON

    def lines(self) -> tuple[Line, ...]:
        return (self.system.redis_line, self.system.broker_line)


class _ToGateways(_BadWeather):
    def lines(self) -> tuple[Line, ...]:
        return (self.system.door_line,)


class PostgresSlow(_ToPostgres):
    weather = SLOW


class PostgresCut(_ToPostgres):
    weather = CUT
    effect = Effect.REFUSES


class PostgresSilent(_ToPostgres):
    weather = BLACK_HOLE
    hold_seconds = 3.0
    effect = Effect.REFUSES


class PostgresAnswersLost(_ToPostgres):
    weather = NO_ANSWERS
    hold_seconds = 3.0
    effect = Effect.REFUSES


class RedisSlow(_ToRedis):
    weather = SLOW


class RedisCut(_ToRedis):
    weather = CUT


class RedisSilent(_ToRedis):
    weather = BLACK_HOLE


class RedisAnswersLost(_ToRedis):
    weather = NO_ANSWERS


class GatewaysSlow(_ToGateways):
    weather = SLOW
    effect = Effect.GOES_ON


class GatewaysCut(_ToGateways):
    weather = CUT


class GatewaysAnswersLost(_ToGateways):
    weather = NO_ANSWERS
