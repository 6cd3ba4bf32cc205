"""Only a read beforehand finds the purchase of a key: two requests at once make two."""

import re

from gateway.purchases import store
from shared.database.prepared_statement import Prepared

ON_CONFLICT = re.compile(r"ON CONFLICT .* DO NOTHING")


def break_it() -> None:
    sql, changed = ON_CONFLICT.subn("", store.ACCEPT.sql)
    assert changed == 1
    store.ACCEPT = Prepared("accept", sql)
