"""The running system, driven at random over HTTP, answers as the pure models of the contract say.

A bounded run tries the same steps each time. `--hypothesis-profile=fuzz` goes on for longer, with
other steps each time, and begins with those that failed last.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.deep.model.accounts_machine import AccountsMachine
from tests.deep.model.sale_machine import SaleMachine
from tests.system.conftest import Shop

# Hypothesis ends by itself; where it finds a failure, it may take five minutes to reduce it.
pytestmark = pytest.mark.timeout(900)


def steps(*, runs: int, steps_a_run: int) -> settings:
    """How long a machine goes on."""
    fuzzing = settings.get_current_profile_name() == "fuzz"
    return settings(
        max_examples=settings().max_examples if fuzzing else runs,
        stateful_step_count=steps_a_run,
        derandomize=not fuzzing,
        deadline=None,
        # Steps are requests, slower than what Hypothesis is used to.
        suppress_health_check=[HealthCheck.too_slow],
        # One failure at a time, reduced, and nothing more: each attempt asks the real system.
        phases=(Phase.reuse, Phase.generate),
        report_multiple_bugs=False,
        print_blob=True,
    )


def test_accounts_and_tokens_are_as_the_model_says(shop: Shop) -> None:
    run_state_machine_as_test(
        lambda: AccountsMachine(shop), settings=steps(runs=15, steps_a_run=20)
    )


def test_sales_are_as_the_model_says(shop: Shop) -> None:
    run_state_machine_as_test(lambda: SaleMachine(shop), settings=steps(runs=30, steps_a_run=25))
    report = shop.audit()
    assert report["ok"], report
