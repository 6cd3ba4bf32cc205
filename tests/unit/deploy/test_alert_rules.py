"""Twenty minutes of a sale, once as it should be and once for each thing that goes wrong.

Prometheus' own `promtool` reckons what would fire at the end. Series are in its notation: `0+5x240`
is 0, 5, 10 ... one value each five seconds, `_` is none.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import Histogram

from gateway.metrics import ACCEPT_COMMIT_SECONDS
from purchase_worker.metrics import REQUEST_TO_DECISION_SECONDS
from shared.observability.metrics import EVENT_LOOP_LAG_SECONDS, POOL_WAIT_SECONDS
from tests.support.observability import FOLDER, RULE_FILES, alerts, read_yaml
from tests.support.services import PROJECT

with_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (it comes with Prometheus)"
)

Series = dict[str, str]

BUY = 'job="gateway",service="gateway",method="POST",route="/api/ticket-purchases/"'
WELL: Series = {
    'up{job="eventify-gateway"}': "1x240",
    'up{job="node"}': "0x240",
    'eventify_purchases_accepted_total{job="gateway"}': "0+500x240",
    'eventify_purchases_decided_total{job="worker",outcome="confirmed"}': "0+500x240",
    'eventify_purchase_errors_total{job="gateway",code="unavailable"}': "0x240",
    'eventify_resolutions_total{job="gateway",action="confirm",outcome="decided"}': "0+500x240",
    f'eventify_http_requests_total{{{BUY},status="202"}}': "0+500x240",
    'eventify_server_errors_total{job="gateway",service="gateway"}': "0x240",
    'eventify_event_loop_lag_seconds_count{job="catalog",service="catalog"}': "0+20x240",
    'eventify_event_loop_timestamp_seconds{job="gateway",service="gateway"}': "0+5x240",
    'eventify_pool_wait_seconds_count{job="worker",process="worker"}': "0+20x240",
    'eventify_rate_limited_total{job="gateway",policy="purchases"}': "0+1x240",
    'eventify_wakeups_failed_total{job="gateway"}': "0x240",
    'eventify_results_not_published_total{job="worker"}': "0x240",
    'eventify_sweeper_decisions_total{job="sweeper"}': "0x240",
    'eventify_audit_violations_total{job="sweeper",invariant="inventory"}': "0x240",
    'eventify_audit_timestamp_seconds{job="sweeper"}': "0+5x240",
    'eventify_full_audit_passed_timestamp_seconds{job="sweeper"}': "0x240",
    'eventify_full_audit_violations{job="sweeper"}': "0x240",
    'eventify_sweep_timestamp_seconds{job="sweeper"}': "0+5x240",
    'eventify_lane_ahead_seconds{job="sweeper"}': "5x240",
    'eventify_queue_read_timestamp_seconds{job="gateway"}': "0+5x240",
    'eventify_purchases_queued{job="gateway"}': "30x240",
    'eventify_backlog_max_rows{job="gateway"}': "20000x240",
    'eventify_oldest_queued_seconds{job="gateway"}': "0.02x240",
    'eventify_webhook_lag_seconds{job="sender"}': "0.2x240",
    'eventify_webhook_poll_timestamp_seconds{job="sender"}': "0+5x240",
    'eventify_webhooks_failing{job="sender"}': "3x240",
    'eventify_webhook_deliveries_total{job="sender",outcome="received"}': "0+10x240",
    'eventify_webhook_deliveries_total{job="sender",outcome="timeout"}': "0+1x240",
}


def observed(metric: Histogram, labels: str, *, seconds: str) -> Series:
    """A histogram whose every observation was of so many seconds."""
    (family,) = metric.describe()
    return {
        f'{family.name}_bucket{{{labels},le="{bound}"}}': "0+20x240"
        if bound >= float(seconds)
        else "0x240"
        for bound in metric._upper_bounds
    }


def decisions(seconds: str) -> Series:
    return observed(REQUEST_TO_DECISION_SECONDS, 'job="worker"', seconds=seconds)


def commits(seconds: str) -> Series:
    return observed(ACCEPT_COMMIT_SECONDS, 'job="gateway"', seconds=seconds)


def event_loop(seconds: str) -> Series:
    labels = 'job="gateway",service="gateway"'
    return observed(EVENT_LOOP_LAG_SECONDS, labels, seconds=seconds)


def pool(seconds: str) -> Series:
    return observed(POOL_WAIT_SECONDS, 'process="catalog"', seconds=seconds)


def answers(service: str, method: str, route: str, status: int) -> str:
    labels = f'service="{service}",method="{method}",route="{route}",status="{status}"'
    return f'eventify_http_requests_total{{job="{service}",{labels}}}'


for quick in (decisions, commits, event_loop, pool):
    WELL |= quick("0.01")

NO_SWEEPER_SINCE_TEN_MINUTES: Series = {
    'eventify_audit_timestamp_seconds{job="sweeper"}': "0+5x120 600x120",
    'eventify_sweep_timestamp_seconds{job="sweeper"}': "0+5x120 600x120",
}
FULL_AUDIT = (
    'eventify_full_audit_passed_timestamp_seconds{job="sweeper"}',
    'eventify_full_audit_violations{job="sweeper"}',
)
WRONG: dict[str, Series] = {
    "EventifyAuditViolation": {
        'eventify_audit_violations_total{job="sweeper",invariant="inventory"}': "0x100 1x140"
    },
    "EventifyAuditNotRunning": {
        'eventify_audit_timestamp_seconds{job="sweeper"}': "0+5x120 600x120"
    },
    "EventifyAuditNotRunning EventifySweeperNotRunning": NO_SWEEPER_SINCE_TEN_MINUTES,
    # A process that cannot reach its database since its start exports none of these.
    " EventifyAuditNotRunning EventifySweeperNotRunning": (
        dict.fromkeys(NO_SWEEPER_SINCE_TEN_MINUTES, "0+5x120 _x120")
        | dict.fromkeys(FULL_AUDIT, "0x120 _x120")
    ),
    "EventifyFullAuditFailed": {'eventify_full_audit_violations{job="sweeper"}': "0x200 2x40"},
    "EventifyFullAuditNotPassed": {
        'eventify_full_audit_passed_timestamp_seconds{job="sweeper"}': "-95000+0x240"
    },
    " EventifyFullAuditNotPassed": dict.fromkeys(FULL_AUDIT, "0x120 _x120"),
    "EventifyOldestQueuedTooLong": {
        'eventify_oldest_queued_seconds{job="gateway"}': "0x120 0+5x120"
    },
    "EventifyBacklogFilling": {'eventify_purchases_queued{job="gateway"}': "0x120 10000+50x120"},
    "EventifyNoWorkerDeciding": {
        'eventify_sweeper_decisions_total{job="sweeper"}': "0x180 0+500x60",
        'eventify_purchases_decided_total{job="sweeper",outcome="expired"}': "0x180 0+500x60",
    },
    "EventifyWakeupsLost": {'eventify_sweeper_decisions_total{job="sweeper"}': "0+1x240"},
    "EventifyLaneAhead": {'eventify_lane_ahead_seconds{job="sweeper"}': "0x200 3600-5x40"},
    "EventifySlowDecisions": decisions("5"),
    "EventifyWakeupsFailing": {'eventify_wakeups_failed_total{job="gateway"}': "0x180 0+5x60"},
    "EventifyResultsNotPublished": {
        'eventify_results_not_published_total{job="worker"}': "0x180 0+5x60"
    },
    "EventifyUnavailable": {
        'eventify_purchase_errors_total{job="gateway",code="unavailable"}': "0x200 0+50x40"
    },
    "EventifyResolutionsUnavailable": {
        'eventify_resolutions_total{job="gateway",action="confirm",outcome="unavailable"}': (
            "0x200 0+50x40"
        )
    },
    "EventifyRouteUnavailable": {
        answers("gateway", "POST", "/api/token/", 503): "0x200 0+2x40",
        answers("gateway", "POST", "/api/token/", 200): "0+2x200 400x40",
        answers("gateway", "POST", "/api/token/", 429): "0+50x240",
        answers("gateway", "GET", "/api/sales/", 200): "0+5000x240",
    },
    " EventifyRouteUnavailable": {
        answers("catalog", "GET", "/api/events/", 503): "_x200 0+5x40",
    },
    "EventifyServerErrors": {
        'eventify_server_errors_total{job="gateway",service="gateway"}': "0x230 1x10"
    },
    "EventifyManyRateLimited": {
        'eventify_rate_limited_total{job="gateway",policy="purchases"}': "0+1000x240"
    },
    "EventifyEventLoopLag": event_loop("2.5"),
    "EventifyProcessHangs": {
        'eventify_event_loop_timestamp_seconds{job="gateway",service="gateway"}': "0+5x200 1000x40"
    },
    "EventifyDatabaseUnavailable": {
        'eventify_queue_read_timestamp_seconds{job="gateway"}': "0+5x220 1100x20",
        'eventify_purchases_queued{job="gateway"}': "30x220 _x20",
        'eventify_oldest_queued_seconds{job="gateway"}': "0.02x220 _x20",
    },
    " EventifyDatabaseUnavailable": {
        'eventify_queue_read_timestamp_seconds{job="gateway"}': "0+5x120 _x120",
        'eventify_purchases_queued{job="gateway"}': "30x120 _x120",
        'eventify_oldest_queued_seconds{job="gateway"}': "0.02x120 _x120",
    },
    "EventifySlowCommits": commits("2.5"),
    "EventifyPoolWaits": pool("2.5"),
    "EventifyWebhooksLate": {'eventify_webhook_lag_seconds{job="sender"}': "0x200 0+5x40"},
    "EventifySenderNotRunning": {
        'eventify_webhook_poll_timestamp_seconds{job="sender"}': "0+5x120 600x120"
    },
    # Of senders that are gone Prometheus soon knows nothing.
    " EventifySenderNotRunning": {
        'eventify_webhook_poll_timestamp_seconds{job="sender"}': "0+5x120 _x120"
    },
    "EventifyWebhooksFailing": {
        'eventify_webhook_deliveries_total{job="sender",outcome="received"}': "5x240"
    },
    # Of an attempt that failed, and of none in the next quarter of an hour.
    " EventifyWebhooksFailing": {
        'eventify_webhook_deliveries_total{job="sender",outcome="received"}': "5x240",
        'eventify_webhook_deliveries_total{job="sender",outcome="timeout"}': "0+1x100 100x140",
    },
    "EventifyTargetDown": {'up{job="eventify-gateway"}': "1x200 0x40"},
    " EventifyTargetDown": {'up{job="eventify"}': "0x240"},
    "  EventifyTargetDown": {'up{job="shop/eventify-workers"}': "0x240"},
    "EventifyNoTargets": {
        'eventify_purchases_accepted_total{job="gateway"}': "_x240",
        'eventify_queue_read_timestamp_seconds{job="gateway"}': "_x240",
    },
    " EventifyNoTargets": {
        'eventify_event_loop_lag_seconds_count{job="catalog",service="catalog"}': "_x240"
    },
    # Where one gateway exports what all processes of a machine count, it keeps that of dead ones.
    "   EventifyNoTargets": {
        'eventify_event_loop_lag_seconds_count{job="catalog",service="catalog"}': (
            "0+20x120 2400x120"
        )
    },
    # Sweepers export what workers do, but for this.
    "  EventifyNoTargets": {
        'eventify_pool_wait_seconds_count{job="worker",process="worker"}': "_x240"
    },
}


def holds(series: Series, firing: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Whether exactly these alerts fire after twenty minutes, by promtool."""
    test = {
        "interval": "5s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "20m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing
                ],
            }
        ],
    }
    file = folder / "test.yml"
    # JSON is YAML.
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(rules) for rules in RULE_FILES],
                "evaluation_interval": "5s",
                "tests": [test],
            }
        )
    )
    return subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )


@with_promtool
def test_no_alert_fires_in_a_sale_without_problems(tmp_path: Path) -> None:
    done = holds(WELL, [], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_one_late_decision_on_a_quiet_system_fires_no_alert(tmp_path: Path) -> None:
    quiet: Series = {
        'eventify_purchases_decided_total{job="worker",outcome="confirmed"}': "0x240",
        'eventify_sweeper_decisions_total{job="sweeper"}': "0x220 1x20",
    }
    done = holds(WELL | quiet, [], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_responses_503_of_a_rush_and_of_a_restart_fire_no_alert(tmp_path: Path) -> None:
    rush: Series = {
        # More sign-ins than passwords can be checked, and a client with too many live streams.
        answers("gateway", "POST", "/api/token/", 503): "0+400x240",
        answers("gateway", "POST", "/api/token/", 200): "0+100x240",
        answers("gateway", "GET", "/api/events/{id}/live/events/", 503): "0+5x240",
        # Twenty seconds without a catalog.
        answers("catalog", "GET", "/api/events/", 503): "0x222 50+50x3 200x15",
        # A change of a row that a sale keeps locked.
        answers("catalog", "PATCH", "/api/ticket-types/{id}/", 503): "0x200 1x20 2x20",
    }
    done = holds(WELL | rush, [], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_decisions_of_the_sweeper_alone_are_not_slow(tmp_path: Path) -> None:
    done = holds(WELL | decisions("1.3"), [], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
@pytest.mark.parametrize("names", WRONG)
def test_each_problem_fires_its_own_alert_and_no_other(names: str, tmp_path: Path) -> None:
    done = holds(WELL | WRONG[names], names.split(), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_job_of_ours_is_watched() -> None:
    (rule,) = (alert for alert in alerts() if alert["alert"] == "EventifyTargetDown")
    (ours,) = re.findall(r'job=~"(.*?)"', rule["expr"])
    for file in ("prometheus.yml", "one-machine.yml"):
        for scraped in read_yaml(FOLDER / "prometheus" / file)["scrape_configs"]:
            assert re.fullmatch(ours, scraped["job_name"])
    monitors = PROJECT / "deploy/kubernetes/components/pod-monitors/pod-monitors.yaml"
    for monitor in yaml.safe_load_all(monitors.read_text()):
        # The operator's job for them.
        assert re.fullmatch(ours, f"eventify/{monitor['metadata']['name']}")
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            (dropped,) = endpoint["relabelings"]
            assert dropped["sourceLabels"] == ["__meta_kubernetes_pod_phase"]
            assert (dropped["regex"], dropped["action"]) == ("Pending", "drop")
    assert not re.fullmatch(ours, "node")


def test_every_alert_has_a_case() -> None:
    assert {alert["alert"] for alert in alerts()} == {n for names in WRONG for n in names.split()}


@with_promtool
def test_prometheus_accepts_its_configurations() -> None:
    for arguments in (["one-machine.yml"], ["--syntax-only", "prometheus.yml"]):
        done = subprocess.run(
            ["promtool", "check", "config", *arguments],
            cwd=FOLDER / "prometheus",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
