"""Every fault, by the class it belongs to; and every control, with the faults that bring it out."""

import random

from tests.chaos.control import Control
from tests.chaos.faults import (
    clock,
    failpoints,
    network,
    postgres,
    processes,
    redis_faults,
    wakeups,
)
from tests.chaos.faults.failover import (
    PrimaryLost,
    PrimaryLostAfterStandby,
    PrimaryUnreachable,
)
from tests.chaos.faults.fault import Fault

FAULTS: dict[str, tuple[type[Fault], ...]] = {
    "processes": (
        processes.WorkerChildKilled,
        processes.WorkerKilled,
        processes.GatewayKilled,
        processes.CatalogKilled,
        processes.SweeperKilled,
        processes.SenderKilled,
        processes.SupervisorKilled,
        processes.WorkerStopped,
        processes.AllStoppedInTurn,
        processes.WholeSystemStopped,
    ),
    "redis": (
        redis_faults.RedisFlushed,
        redis_faults.RedisKilled,
        redis_faults.RedisFrozen,
        redis_faults.RedisReadOnly,
        redis_faults.RedisOutOfMemory,
        redis_faults.PoisonMessage,
    ),
    "wake-ups": (
        wakeups.WakeupsDropped,
        wakeups.WakeupsDoubled,
        wakeups.WakeupsReordered,
        wakeups.WakeupsDelayed,
    ),
    "postgres": (
        postgres.PostgresCrashed,
        postgres.PostgresFrozen,
        postgres.DiskFull,
        postgres.BackendsTerminated,
        postgres.ConnectionsExhausted,
        postgres.LaneLocked,
        postgres.StrayHand,
    ),
    "network": (
        network.PostgresSlow,
        network.PostgresCut,
        network.PostgresSilent,
        network.PostgresAnswersLost,
        network.RedisSlow,
        network.RedisCut,
        network.RedisSilent,
        network.RedisAnswersLost,
        network.GatewaysSlow,
        network.GatewaysCut,
        network.GatewaysAnswersLost,
    ),
    "clock": (clock.WorkersClockAhead,),
    "failpoints": (
        failpoints.KilledBeforeAcceptCommit,
        failpoints.KilledAfterAcceptCommit,
        failpoints.KilledAfterWakeup,
        failpoints.KilledBeforeDecisionCommit,
        failpoints.KilledAfterDecisionCommit,
        failpoints.KilledAfterResult,
        failpoints.KilledBeforeWebhookRequest,
        failpoints.KilledAfterWebhookRequest,
        failpoints.KilledAfterWebhookReceived,
    ),
}

# The round of `make test`: what is most of all promised is that nothing accepted is lost.
IN_TEST: type[Fault] = failpoints.KilledAfterAcceptCommit
# The rounds of `make test-deep`: of each class those that go deepest. `make chaos` tries all.
IN_TEST_DEEP: frozenset[type[Fault]] = frozenset(
    (
        processes.WorkerChildKilled,
        processes.GatewayKilled,
        processes.WorkerStopped,
        redis_faults.RedisFlushed,
        redis_faults.RedisKilled,
        redis_faults.RedisOutOfMemory,
        wakeups.WakeupsDropped,
        wakeups.WakeupsReordered,
        postgres.PostgresCrashed,
        postgres.PostgresFrozen,
        postgres.DiskFull,
        postgres.LaneLocked,
        network.PostgresSilent,
        network.PostgresAnswersLost,
        network.RedisSilent,
        network.GatewaysAnswersLost,
        clock.WorkersClockAhead,
        failpoints.KilledBeforeAcceptCommit,
        failpoints.KilledBeforeDecisionCommit,
        failpoints.KilledAfterDecisionCommit,
    )
)

# Those that can be made on this machine.
POSSIBLE = {
    name: possible
    for name, faults in FAULTS.items()
    if (possible := [fault for fault in faults if not fault.needs])
}


# Of a system whose database has a standby, which no other fault needs.
FAILOVERS = (PrimaryLost, PrimaryLostAfterStandby, PrimaryUnreachable)

# Between any two steps of a payment: a round of races against the end of its hold (payments.py).
PAYMENT_MOMENTS: tuple[type[Fault], ...] = (
    failpoints.KilledBeforeResolveCommit,
    failpoints.KilledAfterResolveCommit,
    failpoints.KilledBeforeDecisionCommit,
    failpoints.KilledAfterDecisionCommit,
    failpoints.KilledAfterResult,
)
PAYMENTS: tuple[type[Fault], ...] = (
    *PAYMENT_MOMENTS,
    processes.GatewayKilled,
    processes.WorkerChildKilled,
    processes.SweeperKilled,
    postgres.PostgresCrashed,
    postgres.BackendsTerminated,
    postgres.LaneLocked,
    network.PostgresAnswersLost,
    network.GatewaysAnswersLost,
)
# Where a payment's own steps are, for `make test-deep`.
PAYMENTS_IN_TEST_DEEP = (
    failpoints.KilledBeforeResolveCommit,
    failpoints.KilledAfterResolveCommit,
    postgres.PostgresCrashed,
)


def random_pair(chance: random.Random) -> list[type[Fault]]:
    """Two faults of different classes."""
    return [chance.choice(POSSIBLE[name]) for name in chance.sample(sorted(POSSIBLE), 2)]


WITHOUT_SECOND_BARRIERS = """
CREATE OR REPLACE FUNCTION eventify_fail(code text, rule text, message text) RETURNS void
    LANGUAGE plpgsql AS 'BEGIN END';
ALTER TABLE ledger DROP CONSTRAINT ledger_pkey, DROP CONSTRAINT ledger_one_answer;
ALTER TABLE batches DROP CONSTRAINT batches_pkey;
ALTER TABLE counters DROP CONSTRAINT counters_never_oversold;
"""

Controls = tuple[tuple[Control, type[Fault]], ...]
CONTROLS: Controls = (
    (Control("no_lock", WITHOUT_SECOND_BARRIERS), wakeups.WakeupsDoubled),
    (Control("early_202"), failpoints.KilledAfterWakeup),
    (Control("sweeper_off"), wakeups.WakeupsDropped),
    (Control("blames_buyers"), postgres.BackendsTerminated),
    (Control("early_result"), processes.WorkerChildKilled),
    (Control("no_unique_key", "DROP INDEX requests_idempotency"), wakeups.WakeupsReordered),
    (
        Control(
            "no_state_guard",
            "ALTER TABLE requests DISABLE TRIGGER requests_insert_only;"
            "ALTER TABLE ledger DISABLE TRIGGER ledger_insert_only",
        ),
        postgres.StrayHand,
    ),
)
# In rounds of payments.
PAYMENT_CONTROLS: Controls = (
    (Control("expired_is_paid"), failpoints.KilledAfterResolveCommit),
    (Control("early_paid"), postgres.LaneLocked),
    (
        Control(
            "lost_confirm",
            f"{WITHOUT_SECOND_BARRIERS} GRANT DELETE ON work_list TO PUBLIC;"
            "ALTER TABLE work_list DISABLE TRIGGER USER",
        ),
        failpoints.KilledBeforeDecisionCommit,
    ),
)
# The same, on a system with a standby.
STANDBY_CONTROLS: Controls = ((Control("unconfirmed"), PrimaryLostAfterStandby),)
