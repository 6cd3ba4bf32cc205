"""A tab of Locust's web UI that shows the sale itself: tickets left, queue, decisions a second."""

from typing import Any

import msgspec
from flask import Response, request
from locust.env import Environment
from locust.web import WebUI

from loadtests import figures, recording

KEY = "sale"
TABS = [{"title": "The sale", "key": KEY}]
TABLES = [
    {"key": KEY, "structure": [{"key": "what", "title": "What"}, {"key": "now", "title": "Now"}]}
]


def add_sale_tab(environment: Environment, web_ui: WebUI) -> None:
    """Add the tab, and what it shows to the statistics that the web UI reads every two seconds."""
    assert web_ui.app is not None
    web_ui.template_args |= {"extended_tabs": TABS, "extended_tables": TABLES}

    def add_rows(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json:
            rows = {"extended_stats": [{"key": KEY, "data": sale_rows(environment)}]}
            response.set_data(msgspec.json.encode(response.get_json() | rows))
        return response

    web_ui.app.after_request(add_rows)


def sale_rows(environment: Environment) -> list[dict[str, Any]]:
    """What the tab shows, row by row; a dash where nothing is known."""
    seen = recording.latest() or {}
    decided = environment.stats.get(figures.REQUEST_TO_DECISION, figures.SALE)
    polled = environment.stats.get(figures.REQUEST_TO_DECISION_POLLED, figures.SALE)
    rows = {
        "Tickets left": seen.get("left"),
        "Purchases queued": seen.get("queued"),
        "Purchases decided": seen.get("decisions"),
        "Decisions a second, as buyers heard them": round(decided.current_rps + polled.current_rps),
        "Request to decision, median (ms)": decided.median_response_time,
    }
    return [{"what": what, "now": "-" if now is None else now} for what, now in rows.items()]
