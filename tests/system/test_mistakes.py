"""Mistakes of an operator: told in one sentence, and nothing is left running."""

import socket

import pytest

from tests.system.operators import Operator


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--gateways", "0"], {}, "--gateways 0 is not between 1 and 64"),
        (["--port", "65536"], {}, "--port 65536 is not between 1 and 65535"),
        (["--host", "nowhere.invalid"], {}, "Cannot listen on nowhere.invalid port"),
        ([], {"EVENTIFY_DATABASE_URL": "nonsense"}, "EVENTIFY_DATABASE_URL"),
        ([], {"EVENTIFY_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "Connection refused"),
        ([], {"EVENTIFY_REDIS_URL": "nonsense"}, "EVENTIFY_REDIS_URL"),
        ([], {"EVENTIFY_REDIS_URL": "redis://127.0.0.1:none/0"}, "EVENTIFY_REDIS_URL"),
        ([], {"EVENTIFY_ACCEPT_WRITERS": "many"}, "EVENTIFY_ACCEPT_WRITERS"),
        ([], {"EVENTIFY_HOME": "/proc/nowhere"}, "Cannot write to /proc/nowhere"),
    ],
)
def test_an_operators_mistake_is_told_in_one_sentence(
    operator: Operator, arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    refused = operator.run(
        "up", "--detach", "--port", str(operator.port), *arguments, **environment
    )

    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert operator.living() == []


@pytest.mark.parametrize("variable", ["EVENTIFY_GATEWAY_PORT", "EVENTIFY_CATALOG_PORT"])
def test_a_taken_port_is_named_even_when_its_owner_would_share_it(
    operator: Operator, variable: str
) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]

        ports = {"EVENTIFY_GATEWAY_PORT": str(operator.port), variable: str(port)}
        refused = operator.run("up", "--detach", **ports)

    assert refused.returncode == 1
    assert f"port {port}: Address already in use" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert operator.living() == []
