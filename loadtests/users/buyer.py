"""Buyers: the crowd that comes when the sale opens."""

from locust import tag, task

from loadtests.users.purchaser import Purchaser


class Buyer(Purchaser):
    """Buys every 5 s, so 100 buyers are 20 purchases/s.

    Of ten, two wait within the POST, five follow by long-poll (one GET), and three poll as
    `Retry-After` says (one GET while the queue is shorter than a second): 100 buyers are 20 POST/s
    and 16 GET/s. Once the POST is answered "sold out", they are 20 POST/s.
    """

    weight = 8
    waits_for_the_opening = True

    @tag("buy", "prefer")
    @task(2)
    def wait_within_the_post(self) -> None:
        self.buy(prefer_wait=True, long_poll=True)

    @tag("buy", "long-poll")
    @task(5)
    def follow_by_long_poll(self) -> None:
        self.buy(long_poll=True)

    @tag("buy", "poll")
    @task(3)
    def poll(self) -> None:
        self.buy()
