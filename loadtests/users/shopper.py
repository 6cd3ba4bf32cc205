"""What all users of a rehearsal have in common: their token, their schedule, their requests."""

import random
import time

from locust import FastHttpUser

from loadtests.answers import ClientResponse, Meaning
from loadtests.recording import figures
from loadtests.rehearsal import assignment
from loadtests.rehearsal.schedule import Schedule

# A gateway closes a connection that is idle for 5 s (uvicorn's default), and what is sent at that
# moment is lost. So a user that was idle for longer than this takes a new one, as a browser does. A
# process that is short of CPU reads answers seconds late, which the rest between the two is for.
IDLE_SECONDS = 1.0
_chance = random.Random()  # noqa: S311 - who comes when is no secret


class Shopper(FastHttpUser):
    """Signed in by a token that was minted beforehand; has one connection of its own."""

    abstract = True
    connection_timeout = 10.0
    pace_seconds = 5.0
    # Whether it comes with a spike; else it is there before. (Locust starts those of a fixed number
    # with the first users or never.)
    waits_for_the_opening = False
    token = ""
    _answered_at = 0.0

    def on_start(self) -> None:
        self.token = self.sign_in()
        self.schedule = Schedule(time.monotonic(), self.pace_seconds, _chance)
        time.sleep(self.wait_time())

    def sign_in(self) -> str:
        return assignment.next_token()

    def wait_time(self) -> float:
        """In seconds: Locust asks for it after each task."""
        return self.schedule.seconds_until_next(time.monotonic())

    def ask(
        self, method: str, path: str, name: str, body: str | None = None, **headers: str
    ) -> ClientResponse:
        """Send one request, which stands in Locust's statistics under `name`.

        Answers with `Retry-After` and those that it is sold out are there under names of their own,
        and are no failures.
        """
        if time.monotonic() - self._answered_at > IDLE_SECONDS:
            self.client.client.close()
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        with self.client.request(
            method, path, name=name, data=body, headers=headers, catch_response=True
        ) as response:
            # Locust's header names are of any case, and there are none without an answer.
            received = {name.lower(): value for name, value in (response.headers or {}).items()}
            answer = ClientResponse(response.status_code, received, response.content or b"")
            if answer.meaning is Meaning.RETRY_LATER:
                response.request_meta["name"] = f"{name} {figures.retry_after(answer.status)}"
            elif answer.meaning is Meaning.SOLD_OUT:
                response.request_meta["name"] = f"{name} {figures.SOLD_OUT}"
            if answer.meaning is not Meaning.FAILED:
                response.success()
        self._answered_at = time.monotonic()
        return answer
