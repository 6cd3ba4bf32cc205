"""docker-compose.yml, as docker compose reads it, against settings, files and the Dockerfile."""

import os
import re
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.local.servers.embedded import LOGGED, VALKEY_MEMORY
from shared.config.settings import SECRETS_DIR, Settings
from shared.database.logins import ROLE_OF_SETTING
from tests.environments.compose.project import configuration
from tests.support.services import PROJECT
from tests.support.waiting import eventually

SERVICES = {
    *("postgres", "valkey", "migrate", "catalog", "gateway", "worker", "sweeper", "sender"),
    "auditor",
}
PROFILES = {"prometheus", "grafana", "locust-master", "locust-worker"}
# A name of several parts, and a tag that says a version.
PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+[\w.-]*$")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return configuration()


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    assert found.keys() == SERVICES | PROFILES
    return found


@pytest.mark.parametrize("name", sorted(SERVICES | PROFILES))
def test_a_service_is_confined(services: dict[str, dict[str, Any]], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["logging"]["driver"] == "json-file"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", sorted((SERVICES | PROFILES) - {"migrate", "auditor"}))
def test_a_long_running_service_is_checked_and_restarted(
    services: dict[str, dict[str, Any]], name: str
) -> None:
    assert services[name]["healthcheck"]["test"]
    assert services[name]["restart"] == "unless-stopped"


def test_the_audit_is_repeated_and_ends_at_once_when_told(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Its own script, with another program in the place of `eventify`; SIGTERM during the pause."""
    shell, _, script = services["auditor"]["command"]
    audits = tmp_path / "audits"

    def repeated() -> None:
        assert len(audits.read_text().splitlines()) >= 2

    (tmp_path / "eventify").write_text(f'#!/bin/sh\necho "$*" >> {audits}\nexit 1\n')
    (tmp_path / "eventify").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "AUDIT_EVERY": "0.05"}
    running = subprocess.Popen(
        [shell, "-c", script.replace("$$", "$")], env=environment, start_new_session=True
    )
    try:
        eventually(repeated, retry_on=(OSError, AssertionError))
        running.terminate()
        assert running.wait(timeout=10) == 0
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert set(audits.read_text().splitlines()) == {"audit --record"}
    assert services["auditor"]["environment"]["AUDIT_EVERY"] == "6h"


@pytest.mark.parametrize("every", ["6 hours", "6H", "0", "0.0h", "", "h", "-1"])
def test_an_interval_of_audits_that_sleep_would_refuse_is_refused_at_the_start(
    services: dict[str, dict[str, Any]], tmp_path: Path, every: str
) -> None:
    shell, _, script = services["auditor"]["command"]
    (tmp_path / "eventify").write_text(f"#!/bin/sh\ntouch {tmp_path}/audited\n")
    (tmp_path / "eventify").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "AUDIT_EVERY": every}
    refused = subprocess.run(
        ["timeout", "5", shell, "-c", script.replace("$$", "$")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert f"AUDIT_EVERY={every} is not a number" in refused.stderr
    assert not (tmp_path / "audited").exists()


def test_the_sender_has_room_for_the_threads_that_look_up_names(
    services: dict[str, dict[str, Any]],
) -> None:
    most = 2 * Settings.model_fields["webhook_deliveries_max"].default
    assert services["sender"]["deploy"]["resources"]["limits"]["pids"] > most + 100


def test_services_start_after_the_migration(services: dict[str, dict[str, Any]]) -> None:
    assert services["migrate"]["restart"] == "no"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in SERVICES - {"postgres", "valkey", "migrate"}:
        wait = services[name]["depends_on"]["migrate"]
        assert wait["condition"] == "service_completed_successfully"


def test_an_upgrade_migrates_before_any_service_is_replaced() -> None:
    """`up` stops all changed containers before it runs `migrate`."""
    guide = (PROJECT / "docs" / "compose.md").read_text()
    _, _, upgrades = guide.partition("\n## Upgrades\n")
    (commands,) = re.findall(
        r"```sh\n(.*?git pull.*?)```", upgrades.partition("\n## ")[0], re.DOTALL
    )
    compose = [line.partition("#")[0].split()[2:] for line in commands.splitlines()]
    assert compose[-3:] == [
        ["build"],
        ["run", "--rm", "--no-deps", "migrate"],
        ["up", "--detach", "--wait"],
    ]


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert PINNED.match(service["image"]), service["image"]
    dockerfile = (PROJECT / "deploy/docker/Dockerfile").read_text()
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    assert PINNED.match(base)
    froms = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    assert froms <= {"${PYTHON_IMAGE}", "base", "packages"}


def test_every_variable_of_a_service_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    settings = {f"EVENTIFY_{name.upper()}" for name in Settings.model_fields} | {SECRETS_DIR}
    for name, service in services.items():
        reported = {one for one in service.get("environment") or {} if one.startswith("EVENTIFY_")}
        assert reported <= settings, name


def test_stop_grace_periods_exceed_the_shutdown_time(services: dict[str, dict[str, Any]]) -> None:
    shutdown_seconds = Settings.model_fields["shutdown_seconds"].default
    for name in SERVICES - {"postgres", "valkey", "migrate"}:
        grace = services[name]["stop_grace_period"]
        assert int(grace.removesuffix("s")) > shutdown_seconds, name


def test_only_the_gateway_and_tools_are_published_on_loopback(
    services: dict[str, dict[str, Any]], compose: dict[str, Any]
) -> None:
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"gateway", "prometheus", "grafana", "locust-master"}
    for name in published:
        assert [port["host_ip"] for port in services[name]["ports"]] == ["127.0.0.1"]
    assert compose["networks"]["backend"]["internal"] is True
    for name in SERVICES:
        # The sender reaches receivers, and is reached by nobody.
        networks = {"backend", "edge"} if name in ("gateway", "sender") else {"backend"}
        assert services[name]["networks"].keys() == networks, name


def test_no_secret_is_in_the_environment(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        environment = service.get("environment") or {}
        secret = [one for one in environment if re.search("PASSWORD|_URL$|KEY", one)]
        # Neither has user info.
        public = ("EVENTIFY_CATALOG_URL", "EVENTIFY_PUBLIC_URL")
        allowed = [one for one in secret if one.endswith("_FILE") or one in public]
        assert secret == allowed, name


@pytest.mark.parametrize(
    ("name", "login"),
    [
        *(("gateway", "gateway"), ("catalog", "catalog"), ("worker", "worker")),
        *(("sweeper", "worker"), ("sender", "sender"), ("auditor", "auditor")),
    ],
)
def test_a_service_has_its_own_login_and_no_other(
    services: dict[str, dict[str, Any]], name: str, login: str
) -> None:
    secrets = {one["source"]: one.get("target") for one in services[name]["secrets"]}
    databases = {source: target for source, target in secrets.items() if "database" in source}
    (target,) = databases.values()
    assert databases.keys() == {f"eventify_{login}_database_url"}
    assert Path(target or "").name == "eventify_database_url"


def test_the_migration_has_all_logins(services: dict[str, dict[str, Any]]) -> None:
    given = {one["source"] for one in services["migrate"]["secrets"]}
    assert given >= {"eventify_database_url", *(f"eventify_{name}" for name in ROLE_OF_SETTING)}


def test_the_catalog_cannot_read_private_keys(services: dict[str, dict[str, Any]]) -> None:
    """Private halves are the gateway's alone (0600); the group may read the public ones."""
    gateway, catalog = (services[name]["user"].split(":") for name in ("gateway", "catalog"))
    assert catalog[0] != gateway[0]
    assert catalog[1] == gateway[1]
    with_keys = {
        name: volume.get("read_only", False)
        for name in SERVICES
        for volume in services[name].get("volumes") or []
        if volume["source"] == "keys"
    }
    assert with_keys == {"gateway": False, "catalog": True}


def test_the_servers_log_no_rows_and_have_memory_limits(
    services: dict[str, dict[str, Any]],
) -> None:
    postgres = services["postgres"]["command"]
    assert {f"-c{name}={value}" for name, value in LOGGED.items()} <= set(postgres)
    assert f"--maxmemory {VALKEY_MEMORY} --maxmemory-policy volatile-ttl" in str(
        services["valkey"]["command"]
    )


@pytest.mark.parametrize(
    ("given", "trusted"), [({}, "127.0.0.1,::1"), ({"EVENTIFY_TRUSTED_PROXIES": ""}, "")]
)
def test_no_proxy_is_trusted_where_none_is_named(given: dict[str, str], trusted: str) -> None:
    gateway = configuration(given=given)["services"]["gateway"]
    assert gateway["environment"]["EVENTIFY_TRUSTED_PROXIES"] == trusted


def test_mounted_files_exist(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes") or []:
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), f"{name}: {volume['source']}"


def test_every_variable_is_in_the_example_with_its_default() -> None:
    used = dict(re.findall(r"\$\{(\w+):?-([^}]*)\}", (PROJECT / "docker-compose.yml").read_text()))
    example = (PROJECT / ".env.example").read_text()
    explained = dict(re.findall(r"^#([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert explained == used


def test_secrets_are_random_private_and_made_once(tmp_path: Path, compose: dict[str, Any]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    make_secrets(first)
    made = {file.name: file.read_text() for file in first.iterdir()}
    (first / "grafana_password").unlink()
    make_secrets(first)
    make_secrets(second)

    assert made.keys() == {Path(one["file"]).name for one in compose["secrets"].values()}
    for name, secret in made.items():
        assert (second / name).read_text() != secret
        if name != "grafana_password":
            assert (first / name).read_text() == secret
        # Any user of a container reads it; on the host the folder keeps everybody else out.
        assert stat.S_IMODE((first / name).stat().st_mode) == 0o444
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    assert made["postgres_password"].strip() in made["eventify_database_url"]
    assert made["valkey_password"].strip() in made["eventify_redis_url"]


def make_secrets(folder: Path) -> None:
    script = PROJECT / "deploy/docker/make-secrets"
    subprocess.run(["sh", str(script), str(folder)], check=True, capture_output=True)


@pytest.mark.parametrize("file", ["deploy/docker/secrets/eventify_database_url", ".env"])
def test_secrets_are_neither_committed_nor_sent_to_a_build(file: str) -> None:
    ignored = subprocess.run(["git", "check-ignore", "--quiet", file], cwd=PROJECT, check=False)
    assert ignored.returncode == 0
    kept_out = (PROJECT / ".dockerignore").read_text().splitlines()
    assert "*" in kept_out
    assert "deploy/docker/secrets" in kept_out
    assert "!.env" not in kept_out
