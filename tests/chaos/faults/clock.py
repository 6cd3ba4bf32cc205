"""The workers' clock is wrong."""

import json
from datetime import UTC, datetime, timedelta

from tests.chaos.faults.fault import Effect, Fault, Turn
from tests.chaos.movable_clock import COMPILER
from tests.support.waiting import eventually

AN_HOUR = timedelta(hours=1)


class WorkersClockAhead(Fault):
    """By an hour, from one moment to the next, and back again."""

    effect = Effect.GOES_ON
    turn = Turn.WHILE_ALL_IS_WELL
    needs = "" if COMPILER else "a C compiler"

    def strike(self) -> None:
        self._struck_at = datetime.now(UTC)
        self.system.clock.move(int(AN_HOUR.total_seconds()))

        def one_is_ahead() -> None:
            assert self._lines_ahead()

        # A buyer may know the first decision before its line is written.
        eventually(one_is_ahead)

    def heal(self) -> None:
        self.system.clock.move(0)
        self.strikes += self._lines_ahead()

    def _lines_ahead(self) -> int:
        return sum(map(self._is_ahead, self._log_lines()))

    def _log_lines(self) -> list[str]:
        logs = self.system.home.logs.glob("worker-?.log")
        return [line for log in logs for line in log.read_text().splitlines()]

    def _is_ahead(self, line: str) -> bool:
        """Whether a worker wrote this, thinking that it is an hour later."""
        if not line.startswith("{"):
            return False
        written_at = datetime.fromisoformat(json.loads(line)["timestamp"])
        return written_at > self._struck_at + AN_HOUR
