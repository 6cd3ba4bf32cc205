"""One soak, from its system's start to its verdict."""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime

import msgspec
from sqlalchemy import Engine, text

from loadtests.bench.report.machine import this_machine
from loadtests.bench.system.baseline import running_server
from loadtests.bench.system.eventify import SETTINGS, BenchSystem, own_systems
from loadtests.selling import EVERY_SCOPE, create_api_key, create_webhook
from loadtests.soak.load.generator import prepare, run_load
from loadtests.soak.load.plan import LoadPlan
from loadtests.soak.load.tally import LoadReport
from loadtests.soak.load.visitors import REFRESHES, SIGN_INS_PER_SECOND
from loadtests.soak.pace import Pace
from loadtests.soak.report import SoakReport
from loadtests.soak.sampling.sample import since
from loadtests.soak.sampling.sampler import Sampler, sampling
from loadtests.soak.verdict.curves import judge
from loadtests.spawned import spawned_process

ORGANISER = "soak-organiser"
# One of each: it answers, it fails for a part of each minute, it never answers.
RECEIVERS = ("/orders", "/failing/orders", "/hang/orders")
SAY_EVERY_SECONDS = 60.0
# Refresh tokens are kept for an hour beyond their end, as long as a run: it begins as if there had
# been as many sign-ins before it.
REFRESH_TOKENS_KEPT_SECONDS = 3_600
ADD_PAST_SIGN_INS = text("""
WITH visitor AS (
    INSERT INTO users (username) VALUES ('visitor-of-before') RETURNING id
), families AS (
    SELECT gen_random_uuid() AS family,
           now() - make_interval(secs => n * :kept / :count) AS ended_at
    FROM generate_series(1, :count) n
)
INSERT INTO refresh_tokens (id, family, user_id, issued_at, expires_at, spent_at, successor)
SELECT CASE step WHEN 0 THEN family ELSE gen_random_uuid() END, family, visitor.id,
       ended_at - make_interval(secs => :valid), ended_at, ended_at, gen_random_uuid()
FROM families, visitor, generate_series(0, :refreshes) step
""")


class SoakOptions(msgspec.Struct, frozen=True):
    minutes: float
    per_second: float
    measured_at: datetime


def run_soak(
    options: SoakOptions, say: Callable[[str], None], stopped: threading.Event
) -> SoakReport:
    """Start a system of its own, load it until the time is over or `stopped` is set, and judge.

    Raises:
        RuntimeError: the system does not start.
        ConfigurationError: it refuses what the load begins with.
    """
    pace = Pace(60.0 * options.minutes)
    say("Starting a system of its own ...")
    with (
        own_systems(1, **pace.settings()) as (system,),
        running_server("loadtests.baselines.receivers", 1) as receivers,
        spawned_process(prepare) as generator,
    ):
        key = _set_up(system, receivers.port)
        add_past_sign_ins(system.engine, pace)
        generator_pid = generator.submit(os.getpid).result()
        plan = LoadPlan(
            port=system.port,
            environment=system.environment,
            key=key,
            per_second=options.per_second,
            seconds=pace.run_seconds,
            sale_seconds=pace.sale_seconds,
            bucket_seconds=pace.bucket_seconds,
            tokens_seconds=pace.tokens_seconds,
        )
        with sampling(system, pace.sample_seconds) as sampler:
            say(f"Selling for {options.minutes:g} minutes ...")
            running = generator.submit(run_load, plan)
            errors = _watch(running, system, sampler, pace, say, stopped, generator_pid)
            load = running.result()
        seconds = time.monotonic() - load.began_at
        samples = since(load.began_at, sampler.samples)
        say("The load is over; the audit ...")
        errors += [*sampler.errors, *load.errors, *system.check()]
        return SoakReport(
            measured_at=options.measured_at.isoformat(timespec="seconds"),
            seconds=seconds,
            per_second=options.per_second,
            settings=SETTINGS | pace.settings(),
            machine=this_machine(system.engine),
            samples=samples,
            minutes=load.minutes,
            verdicts=judge(samples, load.minutes),
            errors=errors,
            generator_cpu_share=load.cpu_seconds / seconds,
        )


def _set_up(system: BenchSystem, receivers_port: int) -> str:
    """The organiser's key, once webhooks follow all of their events."""
    base_url = f"http://127.0.0.1:{system.port}"
    token = system.command("token", ORGANISER).strip()
    key = create_api_key(base_url, token, "soak", EVERY_SCOPE)
    for path in RECEIVERS:
        create_webhook(base_url, token, f"http://127.0.0.1:{receivers_port}{path}")
    return key


def add_past_sign_ins(engine: Engine, pace: Pace) -> None:
    """Those of the hour before, at the rate of the run."""
    values = {
        "kept": REFRESH_TOKENS_KEPT_SECONDS,
        "count": round(SIGN_INS_PER_SECOND * REFRESH_TOKENS_KEPT_SECONDS),
        "valid": pace.refresh_token_seconds,
        "refreshes": REFRESHES,
    }
    with engine.begin() as connection:
        connection.execute(ADD_PAST_SIGN_INS, values)


def _watch(
    running: Future[LoadReport],
    system: BenchSystem,
    sampler: Sampler,
    pace: Pace,
    say: Callable[[str], None],
    stopped: threading.Event,
    generator_pid: int,
) -> list[str]:
    """Until the load is over: recorded audits, and a line each minute; returns what failed."""
    errors: list[str] = []
    began_at = time.monotonic()
    said_at, audited_at = began_at, began_at
    audit: Future[str] | None = None
    with ThreadPoolExecutor(1) as threads:
        while not running.done():
            wait([running], timeout=0.2)
            now = time.monotonic()
            if stopped.is_set():
                os.kill(generator_pid, signal.SIGTERM)
            if now - said_at >= SAY_EVERY_SECONDS and sampler.samples:
                said_at = now
                say(_progress(sampler, now - began_at, pace))
            if audit is not None and audit.done():
                errors += [str(audit.exception())] if audit.exception() else []
                audit = None
            if audit is None and now - audited_at >= pace.audit_seconds:
                audited_at = now
                audit = threads.submit(system.command, "audit", "--record")
    return errors + ([str(audit.exception())] if audit and audit.exception() else [])


def _progress(sampler: Sampler, seconds: float, pace: Pace) -> str:
    figures = sampler.samples[-1].figures
    memory = sum(value for name, value in figures.items() if name.startswith("private_mib:"))
    return (
        f"  {seconds / 60:4.0f} of {pace.run_seconds / 60:.0f} minutes:"
        f" {figures['entries']:,.0f} entries, {memory:,.0f} MiB of memory,"
        f" {figures['connections']:.0f} connections, {figures['queued']:.0f} queued"
    )
