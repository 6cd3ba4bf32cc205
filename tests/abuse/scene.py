"""A running system with one large sale, and what its buyers and an attacker know of it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import count
from urllib.parse import urlsplit

import httpx
import msgspec
import psycopg2

from shared.config.settings import Settings
from tests.abuse.wire import Target
from tests.system.conftest import Shop, open_shop
from tests.system.selling import buy, create, event_fields, put_on_sale, sale_held

BUYERS = 10
# More than a run can sell.
CAPACITY = 1_000_000
# The other events in the catalog, so that a list is one.
EVENTS = 20
PASSWORD = "velvet-tram-42"
# Of the attacker: enough that no limit of one user hides what many do.
ATTACKERS = 50
LONG_EVENTS = 150
LONGEST_DESCRIPTION = 65_000
QUEUED = 20


class Scene:
    """The system, and what stands in it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.organiser = shop.user()
        self.ticket_type = put_on_sale(self.organiser, CAPACITY)
        ticket_type = self.organiser.get(f"/api/ticket-types/{self.ticket_type}/").json()
        self.event: int = ticket_type["event"]
        self.organiser_id: int = self.organiser.get(f"/api/events/{self.event}/").json()["owner"]
        self.other_ticket_type = put_on_sale(self.organiser, 10)
        for number in range(EVENTS):
            create(self.organiser, "/api/events/", event_fields(title=f"Concert {number}"))
        self.buyers = [_token(user) for user in shop.users(BUYERS)]
        self.attackers = shop.users(ATTACKERS)
        self._names = count(1)
        self._long_events_written = False

    @cached_property
    def target(self) -> Target:
        url = urlsplit(self.shop.url)
        assert url.hostname is not None
        assert url.port is not None
        return Target(
            host=url.hostname,
            port=url.port,
            tokens=[_token(user) for user in self.attackers],
            event=self.event,
            ticket_type=self.ticket_type,
        )

    def new_account(self, name: str) -> str:
        """Register a user who can sign in; returns the name."""
        name = f"{name}-{next(self._names)}"
        with httpx.Client(base_url=self.shop.url, timeout=40) as client:
            made = client.post("/api/users/", json={"username": name, "password": PASSWORD})
            assert made.status_code == 201, made.text
        return name

    # --- what an attack needs beforehand -----------------------------------------------------

    @contextmanager
    def nothing(self) -> Iterator[Target]:
        yield self.target

    @contextmanager
    def long_events(self) -> Iterator[Target]:
        """The attacker's events, as many and as long as the system takes."""
        self._write_long_events()
        yield self.target

    @contextmanager
    def spent_token(self) -> Iterator[Target]:
        """A refresh token that was spent longer ago than a client may repeat it."""
        yield msgspec.structs.replace(self.target, refresh=[self._spent_refresh_token()])

    @contextmanager
    def queued_purchases(self) -> Iterator[Target]:
        """Purchases of his users that nobody decides, for a session keeps their sale locked."""
        ticket_type = put_on_sale(self.attackers[0], 100)
        with sale_held(self.shop.database_url, ticket_type):
            bought = [buy(user, ticket_type) for user in self.attackers[:QUEUED]]
            queued = [answer.json()["id"] for answer in bought]
            yield msgspec.structs.replace(self.target, queued=queued)

    @contextmanager
    def locked_ticket_type(self) -> Iterator[Target]:
        """A ticket type of the attacker whose row a session keeps locked."""
        attacker = self.attackers[0]
        ticket_type = put_on_sale(attacker, 100)
        with self._locked("ticket_types", "id", ticket_type):
            yield msgspec.structs.replace(self.target, own_ticket_type=ticket_type)

    @contextmanager
    def _locked(self, table: str, column: str, id_: int) -> Iterator[None]:
        with closing(psycopg2.connect(self.shop.database_url)) as session:
            with session.cursor() as cursor:
                cursor.execute("SET idle_in_transaction_session_timeout = 0")
                cursor.execute(f"SELECT FROM {table} WHERE {column} = %s FOR UPDATE", (id_,))
            yield

    def _write_long_events(self) -> None:
        if self._long_events_written:
            return
        self._long_events_written = True
        length, made = LONGEST_DESCRIPTION, 0
        for attacker in self.attackers:
            # The first writes all that a page can have, if the system lets him.
            while made < LONG_EVENTS:
                text = ("lorem ipsum " * 6_000)[:length]
                body = event_fields(title=f"Long {made}", description=text)
                status = attacker.post("/api/events/", json=body).status_code
                if status in (400, 413) and length:
                    length //= 2
                elif status == 201:
                    made += 1
                else:
                    break  # he may write no more for now; the next one goes on

    def _spent_refresh_token(self) -> str:
        name = self.new_account("spender")
        with httpx.Client(base_url=self.shop.url, timeout=40) as client:
            pair = client.post("/api/token/", json={"username": name, "password": PASSWORD}).json()
            client.post("/api/token/refresh/", json={"refresh": pair["refresh"]})
        return str(pair["refresh"])

    # --- afterwards --------------------------------------------------------------------------

    def undecided(self, purchase_ids: list[str]) -> int:
        """How many of these are not in the database with an outcome."""
        with self.shop.database() as rows:
            rows.execute(
                "SELECT count(*) FROM ledger WHERE command_id = ANY(%s::uuid[])",
                (purchase_ids,),
            )
            found = rows.fetchone()
        assert found is not None
        return len(purchase_ids) - int(found[0])

    def audit_passes(self) -> bool:
        return self.shop.operator.run("audit").returncode == 0

    def processes(self) -> dict[str, int]:
        """The process ids of the services, by name."""
        return {name: one["pid"] for name, one in self.shop.operator.processes().items()}

    def restarted(self) -> list[str]:
        return [name for name, one in self.shop.operator.processes().items() if one["restarts"]]


@contextmanager
def a_scene(**settings: str) -> Iterator[Scene]:
    """A system of its own, with the limits that an operator has by default."""
    defaults = {"EVENTIFY_ANSWER_TIMEOUT_SECONDS": _default("answer_timeout_seconds")}
    # Measured is what operators run, each service a process of its own.
    with open_shop(forks=False, **(defaults | settings)) as shop:
        yield Scene(shop)


def _default(setting: str) -> str:
    return str(Settings.model_fields[setting].default)


def _token(user: httpx.Client) -> str:
    return user.headers["Authorization"].removeprefix("Bearer ")
