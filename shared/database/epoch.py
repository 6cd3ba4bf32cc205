"""The epoch of all ledgers: which history it is that their numbers count.

A restored database may have fewer entries than a reader has seen, and goes on with others under
the same numbers. So it gets a new epoch, by which readers learn of it.
"""

from sqlalchemy import Engine, text

# What a restored database has otherwise: the cluster, the database and the table itself (a dump
# makes them anew), and the timeline, which each recovery to a moment begins. So does a failover,
# after which `eventify migrate` is not called until the next upgrade.
ORIGIN = """concat_ws('/',
    (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    'ledger_epoch'::regclass::oid, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))
"""
IS_RESTORED = text(f"SELECT NOT EXISTS (SELECT FROM ledger_epoch WHERE origin = {ORIGIN})")
RENEW = text(f"""
INSERT INTO ledger_epoch AS known (epoch, origin)
SELECT left(replace(gen_random_uuid()::text, '-', ''), 12), {ORIGIN}
ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, origin = EXCLUDED.origin, since = now()
WHERE known.origin <> EXCLUDED.origin OR :restored
RETURNING true
""")
# Receivers are told of it in a delivery of a new id. A request that is under way ends first.
TELL_RECEIVERS = text("""
UPDATE webhook_cursors SET is_restored = true, sending_id = NULL, sending_to = NULL, failures = 0,
    failing_since = NULL, next_at = least(next_at, now() + make_interval(secs => :lease))
""")


def is_restored(engine: Engine) -> bool:
    """Whether the database is another one than that whose epoch it has; a new one is, too."""
    with engine.connect() as connection:
        restored: bool = connection.execute(IS_RESTORED).scalar_one()
        return restored


def renew_epoch(engine: Engine, *, restored: bool, lease_seconds: float) -> bool:
    """Give a database that was restored a new epoch; returns whether it has one now.

    Args:
        engine: as the tables' owner.
        restored: it was, also where that cannot be seen: from a snapshot of its disk.
        lease_seconds: for how long a sender has a delivery to itself.
    """
    with engine.begin() as connection:
        is_renewed = connection.scalar(RENEW, {"restored": restored}) is not None
        if is_renewed:
            connection.execute(TELL_RECEIVERS, {"lease": lease_seconds})
        return is_renewed
