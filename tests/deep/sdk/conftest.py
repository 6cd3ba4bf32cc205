"""The system of tests/sdk, for these tests."""

from tests.sdk.conftest import shop  # noqa: F401 - pytest finds it here
