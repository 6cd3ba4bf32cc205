"""An abuser: a script that hammers, and is kept in its bounds by the limit of each user."""

from locust import tag, task

from loadtests.answers import Meaning
from loadtests.recording import observations
from loadtests.selling import PURCHASES
from loadtests.users.purchaser import Purchaser, any_purchase


class Abuser(Purchaser):
    """Asks 50 times a second and never waits: the one abuser is 50 POST/s.

    With the gateway's default limits, five of those a second are purchases, after 20 at once; the
    other 45 are answered 429, which is no failure. It has no key, and asks for no outcome.
    """

    fixed_count = 1
    pace_seconds = 0.02

    @tag("abuse")
    @task
    def hammer(self) -> None:
        self.schedule.take()
        answer = self.ask("POST", PURCHASES, f"{PURCHASES} (abuser)", any_purchase())
        if answer.meaning is Meaning.QUEUED and answer.purchase_id is not None:
            observations.accepted(answer.purchase_id)
