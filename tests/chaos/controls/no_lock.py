"""Nobody locks the lane: two workers decide the same event at the same time."""

from purchase_worker import store
from shared.database.prepared_statement import Prepared

LOCK = "FOR NO KEY UPDATE SKIP LOCKED"


def break_it() -> None:
    assert LOCK in store.LOCK_LANES.sql
    store.LOCK_LANES = Prepared("lock_lanes", store.LOCK_LANES.sql.replace(LOCK, ""))
