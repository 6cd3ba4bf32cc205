"""A system has its ports for itself, from its start to its end."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from deploy.local.home import Home
from deploy.local.ports import listeners, refuse_other_listeners, reserve_port
from shared.errors import ConfigurationError
from shared.free_port import free_port
from shared.web.server import listening_socket

LOOPBACK = "127.0.0.1"
HOME = Home(Path("/srv/eventify"))


def reserve(host: str, port: int) -> socket.socket:
    return reserve_port(host, port, "--port")


def service(host: str, port: int) -> socket.socket:
    """A gateway's listener, as `eventify up` starts it."""
    return listening_socket(host, port, 5, shares_port=True)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(params=["reserved", "served", "both"])
def taken(request: pytest.FixtureRequest, port: int) -> Iterator[str]:
    """The port of a system that starts, of one without its supervisor, and of one that runs."""
    sockets = [reserve(LOOPBACK, port)] if request.param != "served" else []
    if request.param != "reserved":
        sockets.append(service(LOOPBACK, port))
    yield request.param
    for one in sockets:
        one.close()


@pytest.mark.parametrize("host", [LOOPBACK, "0.0.0.0", "::"])
def test_a_second_system_cannot_have_the_port(taken: str, port: int, host: str) -> None:
    sentence = f"Cannot listen on {host} port {port}: Address already in use. .* with --port"
    with pytest.raises(ConfigurationError, match=sentence):
        reserve(host, port).close()


@pytest.mark.parametrize("host", [LOOPBACK, "0.0.0.0"])
def test_a_gateway_started_by_hand_cannot_join(taken: str, port: int, host: str) -> None:
    with pytest.raises(ConfigurationError, match="Address already in use"):
        listening_socket(host, port, 5, shares_port=False).close()


def test_of_two_systems_on_overlapping_addresses_only_the_first_starts(port: int) -> None:
    with reserve("0.0.0.0", port), pytest.raises(ConfigurationError):
        reserve(LOOPBACK, port)


def test_two_systems_on_two_addresses_may_have_the_same_port(port: int) -> None:
    with reserve(LOOPBACK, port), reserve("127.0.0.2", port) as second:
        assert second.getsockname() == ("127.0.0.2", port)


def test_a_reserved_port_is_shared_by_its_services_which_get_every_connection(port: int) -> None:
    with reserve(LOOPBACK, port), service(LOOPBACK, port), service(LOOPBACK, port) as last:
        last.close()
        with service(LOOPBACK, port) as restarted:
            assert restarted.getsockname()[1] == port


def test_nobody_answers_on_a_port_that_is_only_reserved(port: int) -> None:
    with reserve(LOOPBACK, port), socket.socket() as client:
        assert client.connect_ex((LOOPBACK, port)) != 0


def test_connections_of_a_former_system_do_not_keep_the_port_from_the_next(port: int) -> None:
    with reserve(LOOPBACK, port), service(LOOPBACK, port) as listener:
        client = socket.create_connection((LOOPBACK, port))
        accepted, _ = listener.accept()
    with closing(client):
        accepted.close()  # closed by us first, so it is ours to remember for a minute
        reserve(LOOPBACK, port).close()


@pytest.mark.parametrize(
    ("theirs", "ours", "takes"),
    [
        (LOOPBACK, LOOPBACK, True),
        (LOOPBACK, "0.0.0.0", True),
        (LOOPBACK, "::", True),
        ("::1", "::", True),
        ("0.0.0.0", "0.0.0.0", True),
        # The kernel prefers the address that names us.
        ("0.0.0.0", LOOPBACK, False),
        ("127.0.0.2", LOOPBACK, False),
        ("::1", "0.0.0.0", False),
    ],
)
def test_whoever_is_given_our_connections_is_found(
    port: int, theirs: str, ours: str, takes: bool
) -> None:
    me = psutil.Process(os.getpid())
    with service(theirs, port):
        assert listeners(ours, port) == ([me] if takes else [])


def test_another_listener_on_the_port_is_named(port: int) -> None:
    refuse_other_listeners(HOME, LOOPBACK, port, "--port")
    with (
        service(LOOPBACK, port),
        pytest.raises(
            ConfigurationError, match=rf"process {os.getpid()} \(.*\) also listens there"
        ),
    ):
        refuse_other_listeners(HOME, LOOPBACK, port, "--port")
