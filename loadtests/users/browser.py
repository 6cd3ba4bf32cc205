"""Browsers: people who look how many tickets are left."""

import random

from locust import tag, task

from loadtests.rehearsal import assignment
from loadtests.users.shopper import Shopper

TICKET_TYPES = "/api/ticket-types/"


class Browser(Shopper):
    """Refreshes a ticket type every 5 s, so 100 browsers are 20 GET/s.

    Each sends the `ETag` it knows: as long as nothing is sold, the answers are 304 without a body.
    """

    weight = 2

    def on_start(self) -> None:
        super().on_start()
        self.known_etag: str | None = None
        self.ticket_type = random.choice(assignment.ticket_types())  # noqa: S311

    @tag("browse")
    @task
    def refresh(self) -> None:
        self.schedule.take()
        headers = {} if self.known_etag is None else {"If-None-Match": self.known_etag}
        path = f"{TICKET_TYPES}{self.ticket_type}/"
        answer = self.ask("GET", path, f"{TICKET_TYPES}[id]/", **headers)
        self.known_etag = answer.headers.get("etag", self.known_etag)
