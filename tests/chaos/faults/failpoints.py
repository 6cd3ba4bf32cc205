"""kill -9 at the moments that matter: before and after each commit, the wake-up, the result."""

from shared.failpoints import Moment
from tests.chaos.faults.fault import Effect, Fault, Turn
from tests.support.waiting import eventually

REACHED_WITHIN_SECONDS = 60


class _KilledAt(Fault):
    """The first process that reaches the moment is killed; the others go on."""

    moment: Moment
    effect = Effect.GOES_ON
    turn = Turn.WHILE_ALL_IS_WELL

    def strike(self) -> None:
        request = self.system.failpoints / self.moment
        request.touch()

        def taken() -> None:
            assert not request.exists(), f"no process reached {self.moment}"

        eventually(taken, within_seconds=REACHED_WITHIN_SECONDS)
        self.strikes += 1


class KilledBeforeAcceptCommit(_KilledAt):
    moment = "before_accept_commit"  # nothing is stored


class KilledAfterAcceptCommit(_KilledAt):
    moment = "after_accept_commit"  # stored; neither the buyer nor a worker knows


class KilledAfterWakeup(_KilledAt):
    moment = "after_wakeup"  # a worker knows; the buyer may or may not


class KilledBeforeResolveCommit(_KilledAt):
    moment = "before_resolve_commit"  # the payment is made; its confirmation is not stored


class KilledAfterResolveCommit(_KilledAt):
    moment = "after_resolve_commit"  # stored; neither the shop nor a worker knows


class KilledBeforeDecisionCommit(_KilledAt):
    moment = "before_decision_commit"  # decided and rolled back: another process decides again


class KilledAfterDecisionCommit(_KilledAt):
    moment = "after_decision_commit"  # decided; no result is published


class KilledAfterResult(_KilledAt):
    moment = "after_result"  # published; the wake-up still counts as under way


class KilledBeforeWebhookRequest(_KilledAt):
    moment = "before_webhook_request"  # taken and fixed; nothing was sent


class KilledAfterWebhookRequest(_KilledAt):
    moment = "after_webhook_request"  # the receiver has it; nobody else knows


class KilledAfterWebhookReceived(_KilledAt):
    moment = "after_webhook_received"  # noted, on this server alone
