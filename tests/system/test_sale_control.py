"""The operator pauses and resumes sales from the command line."""

import httpx

from tests.system.conftest import Shop
from tests.system.contract.problems import check_problem
from tests.system.selling import WAIT, OnSale, buy


def test_the_operator_pauses_a_sale_and_resumes_it(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    first, second, other = (on_sale(5) for _ in range(3))
    paused = shop.operator.call("pause", str(first), str(second))
    assert (paused.returncode, paused.stderr) == (0, "")
    for line, id_ in zip(paused.stdout.splitlines(), (first, second), strict=True):
        assert line.startswith(f"Ticket type {id_} (Standing) is paused since 20")
        check_problem(buy(buyer, id_), 400, "sale_paused")
    assert buy(buyer, other, **WAIT).status_code == 201
    again = shop.operator.call("pause", str(first))
    assert again.stdout == paused.stdout.splitlines(keepends=True)[0]
    resumed = shop.operator.call("resume", str(first))
    assert (resumed.returncode, resumed.stdout) == (
        0,
        f"Ticket type {first} (Standing) is no longer paused.\n",
    )
    assert buy(buyer, first, **WAIT).status_code == 201
    check_problem(buy(buyer, second), 400, "sale_paused")


def test_an_unknown_ticket_type_is_an_error_and_the_others_are_paused(
    shop: Shop, buyer: httpx.Client, on_sale: OnSale
) -> None:
    ticket_type = on_sale(5)
    paused = shop.operator.call("pause", "999999999", str(ticket_type))
    assert paused.returncode == 1
    assert paused.stderr == "Error: There is no ticket type 999999999.\n"
    check_problem(buy(buyer, ticket_type), 400, "sale_paused")
