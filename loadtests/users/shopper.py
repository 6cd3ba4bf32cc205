"""What all users of a rehearsal have in common: who they are, when they act, what answers mean."""

import random
import time

from locust import FastHttpUser

from loadtests import rehearsal
from loadtests.answers import Answer, Meaning
from loadtests.schedule import Schedule

# A choice of ours, within the 30 s that a gateway lets a client wait.
WAIT_SECONDS = 20
_chance = random.Random()  # noqa: S311 - who comes when is no secret


class Shopper(FastHttpUser):
    """Signed in by a token that was minted beforehand; has one connection of its own."""

    abstract = True
    # Longer than any wait that it asks for.
    network_timeout = WAIT_SECONDS + 10.0
    connection_timeout = 10.0
    pace_seconds = 5.0

    def on_start(self) -> None:
        self.token = self.sign_in()
        self.schedule = Schedule(time.monotonic(), self.pace_seconds, _chance)
        time.sleep(self.wait_time())

    def sign_in(self) -> str:
        """The access token that this user goes by."""
        return rehearsal.next_token()

    def wait_time(self) -> float:
        """Locust asks for it after each task, and waits so many seconds."""
        return self.schedule.seconds_until_next(time.monotonic())

    def ask(
        self,
        method: str,
        path: str,
        name: str,
        body: str | None = None,
        **headers: str,
    ) -> Answer:
        """Send one request, which stands in Locust's statistics under `name`.

        What was refused as it should be (not now, and told when; sold out) stands there under a
        name of its own, and is no failure.
        """
        headers["Authorization"] = f"Bearer {self.token}"
        with self.client.request(
            method, path, name=name, data=body, headers=headers, catch_response=True
        ) as response:
            told = response.headers or {}
            answer = Answer(
                response.status_code,
                response.content or b"",
                told.get("retry-after"),
                told.get("etag"),
            )
            if answer.meaning is Meaning.COME_BACK:
                response.request_meta["name"] = f"{name} [{answer.status}, told when]"
            elif answer.meaning is Meaning.SOLD_OUT:
                response.request_meta["name"] = f"{name} [sold out]"
            if answer.meaning is not Meaning.FAILED:
                response.success()
        return answer
