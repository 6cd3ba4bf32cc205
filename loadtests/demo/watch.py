"""Looks at a running sale's rows, again and again, from a thread of its own."""

import threading
import time

from sqlalchemy import Engine, text

from loadtests.demo.sale import Sale, Sample

EVERY_SECONDS = 0.05
LOOK = text("""
SELECT i.issued - i.sold, i.decisions,
       (SELECT count(*) FROM ticket_purchases p
        WHERE p.ticket_type_id = i.ticket_type_id AND p.status = 'queued')
FROM ticket_inventory i WHERE i.ticket_type_id = :id
""")


class Watcher:
    """Adds a sample to the sale twenty times a second between `start` and `stop`."""

    def __init__(self, engine: Engine, ticket_type_id: int, sale: Sale) -> None:
        self._engine = engine
        self._ticket_type_id = ticket_type_id
        self._sale = sale
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        self._opened = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Take a last look, and end; nothing where it was never started."""
        if self._thread.ident is None:
            return
        self._stopped.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        with self._engine.connect() as connection:
            left, decisions, queued = connection.execute(LOOK, {"id": self._ticket_type_id}).one()
        at = time.monotonic() - self._opened
        self._sale.samples.append(Sample(at, left, queued, decisions))
