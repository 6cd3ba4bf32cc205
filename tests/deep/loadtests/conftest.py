"""The shop of tests/system, for these tests."""

from tests.system.conftest import issuer, on_sale, organiser, shop  # noqa: F401 - pytest finds them
