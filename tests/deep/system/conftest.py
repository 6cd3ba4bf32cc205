"""The systems of tests/system, for these tests."""

from tests.system.conftest import hooked_shop, operator  # noqa: F401 - pytest finds them here
