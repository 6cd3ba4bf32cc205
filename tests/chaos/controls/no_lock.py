"""Nobody locks the counter: two workers decide the same ticket type at the same time."""

from purchase_worker import store
from shared.database.prepared_statement import Prepared

LOCK = "FOR NO KEY UPDATE OF i SKIP LOCKED"


def break_it() -> None:
    assert LOCK in store.LOCK_INVENTORIES.sql
    store.LOCK_INVENTORIES = Prepared(
        "lock_inventories", store.LOCK_INVENTORIES.sql.replace(LOCK, "")
    )
