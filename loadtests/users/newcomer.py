"""Newcomers: users without an account, which register and sign in before they buy."""

import time
from uuid import uuid4

import msgspec
from locust import tag, task
from locust.exception import StopUser

from loadtests.answers import ClientResponse, Meaning
from loadtests.recording.figures import OUTCOME_TIMEOUT_SECONDS
from loadtests.rehearsal.expiry import expires_at
from loadtests.users.purchaser import PAUSE_SECONDS, Purchaser

# As often as an address that may sign in once a second lets all newcomers in.
TRIES = 100


class _Pair(msgspec.Struct):
    access: str


class Newcomer(Purchaser):
    """Registers, signs in, then buys every 5 s by long-poll: ten are 2 purchases/s.

    That is 20 calls for accounts when they come, of the 60 at once and one a second which a
    gateway's default limits allow an address; a newcomer waits for `Retry-After`. Before its token
    ends, after an hour by default, it signs in again.
    """

    fixed_count = 10

    def sign_in(self) -> str:
        self._account = {"username": f"newcomer-{uuid4().hex}", "password": uuid4().hex}
        self._insist("/api/users/", self._account)
        return self._new_token()

    @tag("sign-in")
    @task
    def follow_by_long_poll(self) -> None:
        if expires_at(self.token) < time.time() + OUTCOME_TIMEOUT_SECONDS:
            self.token = self._new_token()
        self.buy(long_poll=True)

    def _new_token(self) -> str:
        signed_in = self._insist("/api/token/", self._account)
        return msgspec.json.decode(signed_in.body, type=_Pair).access

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
