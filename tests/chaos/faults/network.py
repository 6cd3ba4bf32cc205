"""The network to a server is slow, cut, silent, or silent in one direction."""

from typing import ClassVar

from tests.chaos.faults.fault import UNAVAILABLE_SECONDS, Effect, Fault
from tests.support.line import FAIR, Weather

SLOW = Weather(latency_seconds=0.1)
CUT = Weather(is_cut=True)
BLACK_HOLE = Weather(there=False, back=False)
# Requests arrive and are carried out; the answers are lost.
NO_ANSWERS = Weather(back=False)


class _BadWeather(Fault):
    """`lines`: the attributes of the system that it strikes."""

    hold_seconds = 2.0
    weather: ClassVar[Weather]
    lines: ClassVar[tuple[str, ...]]

    def strike(self) -> None:
        self._before = self._harmed()
        self._set(self.weather)

    def heal(self) -> None:
        self.strikes += self._harmed() - self._before
        if self.weather == NO_ANSWERS:
            # What is held would only be late: it is lost with its connection.
            self._set(CUT)
        self._set(FAIR)

    def _set(self, weather: Weather) -> None:
        for name in self.lines:
            getattr(self.system, name).set_weather(weather)

    def _harmed(self) -> int:
        return sum(getattr(self.system, name).harmed for name in self.lines)


class PostgresSlow(_BadWeather):
    weather, lines = SLOW, ("database_line",)


class PostgresCut(_BadWeather):
    weather, lines = CUT, ("database_line",)
    hold_seconds, effect = UNAVAILABLE_SECONDS, Effect.UNAVAILABLE


class PostgresSilent(PostgresCut):
    weather = BLACK_HOLE


class PostgresAnswersLost(PostgresCut):
    weather = NO_ANSWERS


class RedisSlow(_BadWeather):
    """For results and as broker; sales go on."""

    weather, lines = SLOW, ("redis_line", "broker_line")
    hold_seconds, effect = 1.5, Effect.GOES_ON


class RedisCut(RedisSlow):
    weather = CUT


class RedisSilent(RedisSlow):
    weather = BLACK_HOLE


class RedisAnswersLost(RedisSlow):
    weather = NO_ANSWERS


class GatewaysSlow(_BadWeather):
    weather, lines = SLOW, ("gateway_line",)
    effect = Effect.GOES_ON


class GatewaysCut(_BadWeather):
    weather, lines = CUT, ("gateway_line",)


class GatewaysAnswersLost(GatewaysCut):
    weather = NO_ANSWERS
