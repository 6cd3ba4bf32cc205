"""A payment provider for trials (docs/payments.md): `python3 provider.py 9000 ok late lost`.

Its faults take turns, one for each request. Like a real one, it gives a repeated request the answer
of the first.
"""

import json
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle

LATE_SECONDS = 0.5
# What each request needs, and what it leaves.
MOVES = {
    "authorize": ("none", "authorized"),
    "charge": ("none", "captured"),
    "capture": ("authorized", "captured"),
    "void": ("authorized", "voided"),
    "refund": ("captured", "refunded"),
}
# A request may be performed twice, late, or later than the next ones, or its answer be lost.
FAULTS = ("ok", "doubled", "late", "lost", "broken", "silent", "busy", "reordered", "declined")


class Provider(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, faults: list[str]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.payments: dict[str, str] = {}
        self._answers: dict[str, int] = {}
        self._faults = cycle(faults)
        self._lock = threading.Lock()

    def next_fault(self) -> str:
        with self._lock:
            return next(self._faults)

    def perform(self, reference: str, action: str, fault: str) -> int:
        """The status of the answer."""
        with self._lock:
            name = f"{reference}/{action}"
            if name not in self._answers:
                self._answers[name] = self._move(reference, action, fault)
            return self._answers[name]

    def _move(self, reference: str, action: str, fault: str) -> int:
        needs, leaves = MOVES[action]
        if self.payments.get(reference, "none") != needs:
            return 409
        if fault == "declined" and action in ("authorize", "charge", "capture"):
            return 402
        self.payments[reference] = leaves
        return 200


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self._answer(200, dict(self.server.payments))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, _, reference, action = self.path.split("/")
        fault = self.server.next_fault()
        if fault == "busy":
            self._answer(503, {})
            return
        if fault in ("silent", "reordered"):
            time.sleep(LATE_SECONDS)  # the client has gone by then
        if fault == "silent":
            return
        status = self.server.perform(reference, action, fault)
        if fault == "doubled":
            status = self.server.perform(reference, action, fault)
        if fault == "late":
            time.sleep(LATE_SECONDS)
        if fault == "broken":
            status = 500
        if fault not in ("lost", "reordered"):
            self._answer(status, {"status": self.server.payments.get(reference, "none")})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client gave up
            super().handle()


if __name__ == "__main__":
    faults = sys.argv[2:] or ["ok"]
    if unknown := set(faults) - set(FAULTS):
        sys.exit(f"Unknown faults {sorted(unknown)}; there are: {' '.join(FAULTS)}.")
    with Provider(int(sys.argv[1]), faults) as provider:
        print(f"http://127.0.0.1:{provider.server_port}", flush=True)
        provider.serve_forever()
