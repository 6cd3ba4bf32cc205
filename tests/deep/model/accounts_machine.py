"""Registers, signs in, refreshes and signs out at random, beside the model of accounts."""

from itertools import count

import httpx
import psycopg2
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
)

from tests.deep.model.accounts import Account, Accounts, RefreshToken
from tests.deep.model.answers import agreed, check_refused, check_status
from tests.deep.model.refusals import Refusal
from tests.system.conftest import Shop

_numbers = count(1)

RIGHT, OTHER = "velvet-tram-42", "quiet-otter-17"
names = st.sampled_from(["ana", "Ana", "ANA", "bob", "Bob"])
passwords = st.sampled_from([RIGHT] * 3 + [OTHER])
# `{name}` is the user's own name.
new_passwords = st.sampled_from([RIGHT, OTHER, "short", "20261122", "password123", "{name}"])
addresses = st.sampled_from([None, None, "ana@example.com", "nobody"])


class AccountsMachine(RuleBasedStateMachine):
    """Each run has its own names, with its number in them."""

    tokens = Bundle("tokens")

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.model = Accounts()
        self.number = next(_numbers)
        self.database_url = shop.database_url
        self.client = httpx.Client(base_url=shop.url, timeout=40, verify=False)
        # A wrong password and an unknown name have the same message.
        self.words_of_wrong_credentials: set[str] = set()

    def post(self, path: str, **fields: object) -> httpx.Response:
        return self.client.post(path, json=fields)

    def name(self, name: str) -> str:
        return f"{name}.somebody.{self.number}"

    # --- accounts ---

    @initialize(target=tokens)
    def sign_up(self) -> RefreshToken | MultipleResults:
        self._register(self.name("ana"), RIGHT, None)
        return self._sign_in(self.name("ana"), RIGHT)

    @rule(name=names | st.just(""), password=new_passwords, email=addresses)
    def register(self, name: str, password: str, email: str | None) -> None:
        # A space is no part of a name.
        name = self.name(name) if name else f"ana {self.number}"
        self._register(name, password.format(name=name), email)

    def _register(self, username: str, password: str, email: str | None) -> None:
        answer = self.post("/api/users/", username=username, password=password, email=email)
        account = agreed(answer, 201, lambda: self.model.register(username, password, email))
        if account is not None:
            account.id = answer.json()["id"]
            self._check_account(answer, account)

    def _check_account(self, answer: httpx.Response, account: Account) -> None:
        view = answer.json()
        assert view == {
            "id": account.id,
            "username": account.username,
            "email": account.email,
            "created_at": view["created_at"],
        }

    # --- tokens ---

    @rule(target=tokens, name=names, password=passwords)
    def sign_in(self, name: str, password: str) -> RefreshToken | MultipleResults:
        return self._sign_in(self.name(name), password)

    def _sign_in(self, username: str, password: str) -> RefreshToken | MultipleResults:
        answer = self.post("/api/token/", username=username, password=password)
        token = agreed(answer, 200, lambda: self.model.sign_in(username, password))
        if token is None:
            self.words_of_wrong_credentials.add(answer.json()["detail"])
            assert len(self.words_of_wrong_credentials) == 1
            return multiple()
        token.access, token.refresh = answer.json()["access"], answer.json()["refresh"]
        return token

    @rule(target=tokens, token=tokens, late=st.sampled_from([False, False, True]))
    def refresh(self, token: RefreshToken, late: bool) -> RefreshToken | MultipleResults:
        if late:
            self._let_the_retry_window_pass()
        answer = self.post("/api/token/refresh/", refresh=token.refresh)
        successor = agreed(answer, 200, lambda: self.model.refresh(token))
        if successor is None:
            return multiple()
        pair = {"access": successor.access, "refresh": successor.refresh}
        if successor.refresh:
            assert answer.json() == pair
            return multiple()
        assert answer.json().keys() == pair.keys()
        successor.access, successor.refresh = answer.json()["access"], answer.json()["refresh"]
        return successor

    @rule(token=tokens)
    def blacklist(self, token: RefreshToken) -> None:
        answer = self.post("/api/token/blacklist/", refresh=token.refresh)
        agreed(answer, 200, lambda: self.model.blacklist(token))

    @rule(token=tokens)
    def verify(self, token: RefreshToken) -> None:
        answer = self.post("/api/token/verify/", token=token.refresh)
        agreed(answer, 200, lambda: self.model.verify(token))

    @rule(token=tokens)
    def read_oneself(self, token: RefreshToken) -> None:
        """An access token holds until it expires, whatever became of its family."""
        check_status(self.post("/api/token/verify/", token=token.access), 200)
        bearer = {"Authorization": f"Bearer {token.access}"}
        answer = self.client.get("/api/users/me/", headers=bearer)
        check_status(answer, 200)
        self._check_account(answer, token.family.account)

    @rule(token=tokens)
    def take_one_token_for_the_other(self, token: RefreshToken) -> None:
        for path in ("refresh", "blacklist"):
            refused = self.post(f"/api/token/{path}/", refresh=token.access)
            check_refused(refused, Refusal("token_not_valid"))
        bearer = {"Authorization": f"Bearer {token.refresh}"}
        refused = self.client.get("/api/users/me/", headers=bearer)
        check_refused(refused, Refusal("token_not_valid"))

    def _let_the_retry_window_pass(self) -> None:
        """Without a wait: spent tokens were spent a day earlier."""
        self.model.let_the_retry_window_pass()
        connection = psycopg2.connect(self.database_url)
        with connection, connection.cursor() as cursor:
            # Guards do not fire for a replica; they would not let the time be changed.
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(
                "UPDATE refresh_tokens SET spent_at = spent_at - interval '1 day' FROM users"
                " WHERE users.id = user_id AND username LIKE %s AND spent_at IS NOT NULL",
                (f"%.somebody.{self.number}",),
            )
        connection.close()

    def teardown(self) -> None:
        self.client.close()
