"""The console's rules of what its chart shows, in a real browser: no page, only its modules."""

from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page

from gateway.pages.files import asset_hash
from tests.browser.visitors import Visitors

SECOND = 1_000
STEP = 10
# Two steps of ten seconds, the second not over, and a minute without a purchase.
HISTORY: dict[str, Any] = {
    "now": "2026-11-22T12:01:15.000Z",
    "step_seconds": STEP,
    "points": [
        {
            "at": f"2026-11-22T12:00:{seconds:02}.000Z",
            "left": left,
            "held": 0,
            "confirmed": 100 - left,
            "queued": 0,
            "decided": decided,
            "accepted": decided,
            "refused": {"not_enough_tickets": decided},
        }
        for seconds, left, decided in ((0, 60, 40), (10, 30, 30))
    ],
}


@pytest.fixture
def rules(visitors: Visitors) -> Page:
    page = visitors.visitor()
    page.add_init_script(
        f"window.rules = name => import(`/assets/{asset_hash()}/console/${{name}}.js`)"
    )
    page.goto("/")
    return page


def test_a_past_begins_with_all_that_was_issued_and_lasts_until_now(rules: Page) -> None:
    samples = rules.evaluate(
        "async history => (await rules('timeline')).fromHistory(history, true)", HISTORY
    )
    began = samples[0]["at"]
    seen = [((each["at"] - began) / SECOND, each["left"], each["decided"]) for each in samples]
    assert seen == [(0, 100, 0), (10, 60, 4), (20, 30, 3), (30, 30, 0), (75, 30, 0)]
    assert samples[1]["refused"] == {"not_enough_tickets": 4}


def test_a_chart_that_is_watched_for_hours_stays_small_and_keeps_its_ends(rules: Page) -> None:
    samples = rules.evaluate(
        """async seconds => {
          const { join } = await rules("timeline");
          let samples = [];
          for (let at = 0; at < seconds; at += 1) {
            const left = seconds - at;
            const figures = { left, held: 0, confirmed: at, queued: 0, refused: { all_held: 1 } };
            samples = join(samples, [{ at: at * 1000, ...figures, decided: 8, accepted: 8 }]);
          }
          return join(samples, [{ ...samples.at(-1), left: -1 }]);  // not newer
        }""",
        4 * 3_600,
    )
    assert len(samples) <= 1_200
    steps = [after["at"] - before["at"] for before, after in pairwise(samples)]
    assert min(steps) > 0
    assert max(steps) <= 60 * SECOND
    assert samples[0]["at"] == 0
    assert (samples[-1]["at"], samples[-1]["left"]) == ((4 * 3_600 - 1) * SECOND, 1)
    # Merged, rates are means and levels are the later ones.
    assert all(each["decided"] == 8 and each["refused"] == {"all_held": 1} for each in samples)
    assert all(each["confirmed"] == each["at"] / SECOND for each in samples)


def test_a_chart_that_begins_later_begins_with_what_was_before(rules: Page) -> None:
    shown = rules.evaluate(
        "async samples => { const { since } = await rules('timeline');"
        " return [since(samples, 15), since(samples, 40), since(samples, 5)]; }",
        [{"at": at, "left": at} for at in (10, 20, 30)],
    )
    assert [[(each["at"], each["left"]) for each in samples] for samples in shown] == [
        *([(15, 10), (20, 20), (30, 30)], [(40, 30)], [(10, 10), (20, 20), (30, 30)]),
    ]


def test_what_happens_between_two_figures_is_marked(rules: Page) -> None:
    def figures(*types: tuple[str, int]) -> dict[str, Any]:
        rows = [{"id": i, "state": state, "issued": n} for i, (state, n) in enumerate(types)]
        return {"at": HISTORY["now"], "ticket_types": rows}

    before = figures(("not_open", 10), ("on_sale", 10), ("paused", 10), ("on_sale", 10))
    after = figures(("on_sale", 10), ("paused", 30), ("sold_out", 10), ("all_held", 6))
    marks = rules.evaluate(
        "async ([a, b]) => (await rules('timeline')).marksBetween(a, b)", [before, after]
    )
    assert [(mark["ticket_type"], mark["kind"], mark["change"]) for mark in marks] == [
        *((0, "opening", None), (1, "paused", None), (1, "capacity", 20)),
        *((2, "resumed", None), (2, "sold_out", None), (3, "capacity", -4)),
    ]
