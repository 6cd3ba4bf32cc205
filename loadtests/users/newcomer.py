"""Newcomers: users without an account, which register and sign in before they buy."""

import time
from uuid import uuid4

import msgspec
from locust import tag, task
from locust.exception import StopUser

from loadtests.answers import ClientResponse, Meaning
from loadtests.users.purchaser import PAUSE_SECONDS, Purchaser

# As often as an address that may sign in once a second lets all newcomers in.
TRIES = 100


class _Pair(msgspec.Struct):
    access: str


class Newcomer(Purchaser):
    """Registers, signs in, then buys every 5 s by long-poll: ten are 2 purchases/s.

    That is 20 calls for accounts when they come, of the 60 at once and one a second which a
    gateway's default limits allow an address; a newcomer waits for `Retry-After`.
    """

    fixed_count = 10

    def sign_in(self) -> str:
        account = {"username": f"newcomer-{uuid4().hex}", "password": uuid4().hex}
        self._insist("/api/users/", account)
        signed_in = self._insist("/api/token/", account)
        return msgspec.json.decode(signed_in.body, type=_Pair).access

    @tag("sign-in")
    @task
    def follow_by_long_poll(self) -> None:
        self.buy(long_poll=True)

    def _insist(self, path: str, account: dict[str, str]) -> ClientResponse:
        """Ask until the answer is no `Retry-After`.

        Raises:
            StopUser: after an error, which is in the statistics, or too many tries.
        """
        for _ in range(TRIES):
            answer = self.ask("POST", path, path, msgspec.json.encode(account).decode())
            if answer.meaning is Meaning.FINE:
                return answer
            if answer.meaning is not Meaning.RETRY_LATER:
                break
            time.sleep(answer.retry_after_seconds or PAUSE_SECONDS)
        raise StopUser
