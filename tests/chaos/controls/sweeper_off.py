"""The sweeper runs and finds nothing: a wake-up that is lost is lost for good."""

from purchase_worker import store


def break_it() -> None:
    store.queued_too_long = lambda _cursor, _seconds: []
