"""Locust without its changes to this process, which other tests are in too."""

import pytest

with pytest.MonkeyPatch.context() as while_imported:
    while_imported.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    import locust  # noqa: F401
