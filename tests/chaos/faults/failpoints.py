"""kill -9 at the moments that matter: before and after each commit, the wake-up, the result."""

from shared.failpoints import Moment
from tests.chaos.faults.fault import Effect, Fault, Turn
from tests.support.waiting import eventually

COMES_BY_SECONDS = 60


class _KilledAt(Fault):
    """Whoever reaches the moment first dies; what else does the same work goes on."""

    moment: Moment
    effect = Effect.GOES_ON
    turn = Turn.WHILE_ALL_IS_WELL

    def strike(self) -> None:
        request = self.system.failpoints / self.moment
        request.touch()

        def taken() -> None:
            assert not request.exists(), f"nobody came by {self.moment}"

        eventually(taken, within_seconds=COMES_BY_SECONDS)
        self.strikes += 1


class KilledBeforeAcceptCommit(_KilledAt):
    """Nothing is stored, and nobody told."""

    moment = "before_accept_commit"


class KilledAfterAcceptCommit(_KilledAt):
    """Stored, and neither the buyer nor a worker knows."""

    moment = "after_accept_commit"


class KilledAfterWakeup(_KilledAt):
    """A worker knows; the buyer may or may not."""

    moment = "after_wakeup"


class KilledBeforeDecisionCommit(_KilledAt):
    """Decided, and all of it undone: somebody decides again."""

    moment = "before_decision_commit"


class KilledAfterDecisionCommit(_KilledAt):
    """Decided for good, and nobody told."""

    moment = "after_decision_commit"


class KilledAfterResult(_KilledAt):
    """Decided and told; the wake-up still counts as under way."""

    moment = "after_result"
