"""A system for each file of tests, as in tests/chaos."""

from tests.chaos.conftest import system  # noqa: F401 - pytest finds it here
