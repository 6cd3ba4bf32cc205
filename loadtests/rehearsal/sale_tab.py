"""A tab of Locust's web UI that shows the sale itself, from its first purchase to the verdict.

Locust's tabs hold tables only, so a column draws each figure over time in block characters. The
page `/sale` has the same as charts.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from flask import Response, request
from locust.env import Environment
from locust.runners import STATE_RUNNING
from locust.web import WebUI

from loadtests.recording.figures import REQUEST_TO_DECISION, REQUEST_TO_SOLD_OUT, waits
from loadtests.recording.listeners import recording
from loadtests.recording.recorder import Recorder
from loadtests.recording.run import Moment
from loadtests.recording.timeline import answers, latency
from loadtests.rehearsal.sale_page import sale_page
from loadtests.verdict.judge import IN_WORDS, ExitCode, sold_out_after_seconds, tickets_sold

KEY = "sale"
TABS = [{"title": "The sale", "key": KEY}]
TABLES = [
    {
        "key": KEY,
        "structure": [
            {"key": "what", "title": "What"},
            {"key": "now", "title": "Now"},
            {"key": "trend", "title": "Over time"},
        ],
    }
]
PAGE = "/sale"
LINKS = [{"href": f".{PAGE}", "title": "The sale over time, and the verdict"}]
BLOCKS = "▁▂▃▄▅▆▇█"
TREND_COLUMNS = 40


def add_sale_tab(environment: Environment, web_ui: WebUI) -> None:
    """Add the tab, and what it shows to the statistics that the web UI reads every two seconds."""
    assert web_ui.app is not None
    web_ui.template_args |= {
        "extended_tabs": TABS,
        "extended_tables": TABLES,
        "extended_csv_files": LINKS,
    }

    def add_rows(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json:
            shown = response.get_json()
            rows = {"extended_stats": [{"key": KEY, "data": sale_rows(environment)}]}
            if recording.is_checking:
                # The web UI stops reading when a run has stopped; the verdict comes after that.
                rows["state"] = STATE_RUNNING  # type: ignore[assignment]
            response.set_data(msgspec.json.encode(shown | rows))
        return response

    web_ui.app.after_request(add_rows)
    web_ui.app.add_url_rule(
        PAGE, "sale", web_ui.auth_required_if_enabled(lambda: _page(environment))
    )


def sale_rows(environment: Environment) -> list[dict[str, Any]]:
    """What the tab shows, row by row; a dash where nothing is known."""
    run = recording.recorder
    stats = environment.stats
    moments = run.timeline.moments(stats) if run is not None else []
    seen = recording.latest
    counts = answers(stats)
    sold = tickets_sold(moments)
    after = sold_out_after_seconds(moments)
    last = moments[-2] if len(moments) > 1 else Moment(at=0, users=0)  # the last full second
    rows: list[tuple[str, object, str]] = [
        ("Tickets sold", None if sold is None else sold[0], ""),
        ("Tickets left", seen and seen.left, _trend(moments, "left")),
        ("Tickets held", seen and seen.held, _trend(moments, "held")),
        ("Sold out", "not yet" if after is None else f"after {after} s", ""),
        ("Purchases queued", seen and seen.queued, _trend(moments, "queued")),
        ("Entries in the ledger", seen and seen.decisions, ""),
        ("Accepted with 202", counts.accepted, _trend(moments, "accepted")),
        ("Confirmed, as buyers saw", counts.confirmed, ""),
        ("Held, as buyers saw", counts.held, ""),
        ("Paid", counts.paid, ""),
        ("Paid too late", counts.given_back, ""),
        ("Abandoned", counts.abandoned, ""),
        ("Rejected, as buyers saw", counts.rejected, ""),
        ("Answered sold out", counts.sold_out, _trend(moments, "sold_out")),
        ("Gave up after Retry-After", counts.gave_up, ""),
        ("Answered with Retry-After: 400", counts.retry_after_400, ""),
        ("Answered with Retry-After: 429", counts.retry_after_429, ""),
        ("Answered with Retry-After: 503", counts.retry_after_503, ""),
        ("Failed requests", stats.total.num_failures, ""),
        ("Decisions per second, as buyers saw them", last.decided, _trend(moments, "decided")),
    ]
    for name, figure, field in (
        ("Request to decision", REQUEST_TO_DECISION, "p95_ms"),
        ("Request to sold out", REQUEST_TO_SOLD_OUT, "sold_out_p99_ms"),
    ):
        times = latency(waits(stats, figure))
        shown = times and f"{times.p50_ms:,.0f} / {times.p95_ms:,.0f} / {times.p99_ms:,.0f}"
        rows.append((f"{name}: p50 / p95 / p99 (ms)", shown, _trend(moments, field)))
    rows.append(("Verdict", _verdict(run), ""))
    rows.append(("Report", None if run is None else str(run.folder.resolve()), ""))
    return [
        {"what": what, "now": "-" if now is None else now, "trend": trend}
        for what, now, trend in rows
    ]


def _page(environment: Environment) -> str:
    run = recording.recorder
    moments = run.timeline.moments(environment.stats) if run is not None else []
    return sale_page(sale_rows(environment), moments, over=run is None or run.exit_code is not None)


def _verdict(run: Recorder | None) -> str | None:
    if run is None or run.exit_code is None:
        return None
    words = IN_WORDS[ExitCode(run.exit_code)] if run.exit_code in list(ExitCode) else "not checked"
    return f"{words} (exit code {run.exit_code})"


def _trend(moments: Sequence[Moment], field: str) -> str:
    """A figure from the run's beginning until now, in at most `TREND_COLUMNS` characters."""
    values = [getattr(moment, field) for moment in moments]
    columns = min(TREND_COLUMNS, len(values))
    parts = [
        [v for v in values[n * len(values) // columns : (n + 1) * len(values) // columns] if v]
        for n in range(columns)
    ]
    peaks = [max(part, default=0) for part in parts]
    highest = max(peaks, default=0)
    if not highest:
        return ""
    return "".join(BLOCKS[round(peak / highest * (len(BLOCKS) - 1))] for peak in peaks)
