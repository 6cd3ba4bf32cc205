"""The system of tests/clients, and its OpenAPI document, for these tests."""

from tests.clients.conftest import document, node, shop  # noqa: F401 - pytest finds them here
