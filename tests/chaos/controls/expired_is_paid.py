"""A confirmation that comes too late is answered 200, as one that is repeated."""

from gateway.resolutions import rules, service, store
from gateway.resolutions.rules import Accept, Accepted, Command, NothingToDo, Standing
from shared.errors import HoldExpired, Problem
from shared.purchases import Purchase


def judge(command: Command, standing: Standing) -> Accept | Accepted | NothingToDo | Problem:
    verdict = rules.judge(command, standing)
    return NothingToDo() if isinstance(verdict, HoldExpired) else verdict


def problem_of_refusal(
    kind: str, reason: str, purchase: Purchase | None, payment_reference: str | None
) -> Problem | None:
    problem = rules.problem_of_refusal(kind, reason, purchase, payment_reference)
    return None if isinstance(problem, HoldExpired) else problem


def break_it() -> None:
    store.judge = judge
    service.problem_of_refusal = problem_of_refusal
