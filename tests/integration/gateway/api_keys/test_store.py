"""A user's keys in a real PostgreSQL."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from gateway.api_keys import store
from shared.errors import InvalidInput
from tests.support.factories import add_user, scalar

HASH = b"x" * 32


def test_a_key_that_expires_before_it_is_stored_is_refused(engine: Engine) -> None:
    user_id = add_user(engine)
    soon = datetime.now(UTC) + timedelta(seconds=0.3)

    @event.listens_for(engine, "before_cursor_execute")
    def wait(*_: Any) -> None:
        time.sleep(max((soon - datetime.now(UTC)).total_seconds(), 0))

    with pytest.raises(InvalidInput) as refused:
        store.add(engine, user_id, "Shop", ["read"], HASH, soon)
    assert refused.value.errors == {"expires_at": ["Must be in the future."]}
    assert scalar(engine, "SELECT count(*) FROM api_keys") == 0
