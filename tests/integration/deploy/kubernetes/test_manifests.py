"""The manifests mean what they should."""

import os
import re
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.cli.main import COMMANDS, main
from deploy.local.servers.embedded import LOCALE
from gateway.api_docs import ASSETS_URL
from shared.concurrency.single_flight import READY_TIMEOUT_SECONDS
from shared.config.settings import Settings
from shared.webhooks import is_allowed_address
from tests.integration.deploy.kubernetes.conftest import OVERLAYS, render
from tests.integration.deploy.kubernetes.rendered import (
    OURS,
    Rendered,
    containers,
    pod_spec,
    pod_template,
    selects,
)
from tests.support.pools import POOLS
from tests.support.services import PROJECT

NOT_SETTINGS = {"EVENTIFY_SECRETS_DIR"}
SETTINGS = Settings(database_url="postgresql://nowhere/none")


def test_every_variable_is_a_setting_and_takes_its_value(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings,) = rendered.of_kind("ConfigMap")
    variables = dict(settings["data"])
    for workload in rendered.ours():
        for container in containers(workload):
            variables |= {one["name"]: one["value"] for one in container.get("env", [])}
            (source,) = container["envFrom"]
            assert source["configMapRef"]["name"] == settings["metadata"]["name"]
    known = {f"EVENTIFY_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    assert variables.keys() <= known
    for name in variables.keys() - NOT_SETTINGS:
        monkeypatch.setenv(name, variables[name])
    read = Settings(database_url="postgresql://nowhere/none")
    assert read.catalog_url == f"http://catalog:{read.catalog_port}"


def test_every_command_exists(rendered: Rendered) -> None:
    for workload in rendered.ours():
        for container in containers(workload):
            probes = [probe for name, probe in container.items() if name.endswith("Probe")]
            commands = [probe["exec"]["command"] for probe in probes if "exec" in probe]
            for first, *rest in [container["command"], *commands]:
                if first == "eventify":
                    assert rest[0] in COMMANDS
                elif workload["metadata"]["name"] == "operator":
                    assert first == "sleep"
                else:
                    assert (first, rest[0]) == ("python", "-m")
                    assert find_spec(rest[1])


def test_eventify_is_one_image_and_every_image_has_a_tag(rendered: Rendered) -> None:
    images = {container["image"] for one in rendered.ours() for container in containers(one)}
    assert len(images) == 1
    for workload in rendered.workloads():
        for container in containers(workload):
            assert container["image"].rpartition(":")[2] not in ("", "latest", container["image"])


def test_liveness_probes_need_no_database(rendered: Rendered) -> None:
    for workload in rendered.ours():
        name = workload["metadata"]["name"]
        if name in ("migrate", "auditor", "operator"):
            continue
        (container,) = pod_spec(workload)["containers"]
        for probe in (container["startupProbe"], container["livenessProbe"]):
            if name in ("gateway", "catalog"):
                assert probe["httpGet"] == {"path": "/healthz", "port": "http"}
            else:
                assert probe["exec"]["command"] == ["python", "-m", "purchase_worker.health", name]
    for name in ("gateway", "catalog"):
        (container,) = pod_spec(rendered.named("Deployment", name))["containers"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        # The gateway's own patience with the database comes first, so that it is heard.
        assert container["readinessProbe"]["timeoutSeconds"] > READY_TIMEOUT_SECONDS


def test_termination_grace_exceeds_the_shutdown_time(rendered: Rendered) -> None:
    for workload in rendered.ours():
        if workload["kind"] in ("Job", "CronJob"):
            continue
        spec = pod_spec(workload)
        (container,) = spec["containers"]
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
        assert spec["terminationGracePeriodSeconds"] > pause["seconds"] + SETTINGS.shutdown_seconds
        serves = any(port["name"] == "http" for port in container["ports"])
        assert serves == (pause["seconds"] > 0)


def test_pods_have_least_privileges(rendered: Rendered) -> None:
    for workload in rendered.workloads():
        spec = pod_spec(workload)
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
    for workload in rendered.ours():
        spec = pod_spec(workload)
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 10001
    for account in rendered.of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_every_selector_finds_its_pods(rendered: Rendered) -> None:
    labels = rendered.pod_labels()
    for workload in rendered.of_kind("Deployment", "StatefulSet"):
        own = workload["spec"]["template"]["metadata"]["labels"]
        found = [name for name, pod in labels.items() if selects(workload["spec"]["selector"], pod)]
        assert found == [workload["metadata"]["name"]]
        for constraint in pod_spec(workload).get("topologySpreadConstraints") or []:
            assert selects(constraint["labelSelector"], own)
    for service in rendered.of_kind("Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        found = [name for name, pod in labels.items() if selects(selector, pod)]
        assert found == [service["metadata"]["name"]]
        (workload,) = (one for one in rendered.workloads() if one["metadata"]["name"] == found[0])
        (container,) = pod_spec(workload)["containers"]
        (port,) = service["spec"]["ports"]
        assert port["targetPort"] in {one["name"] for one in container["ports"]}
        assert port["port"] in {one["containerPort"] for one in container["ports"]}
    for kind, where in (("PodDisruptionBudget", "selector"), ("PodMonitor", "selector")):
        for resource in rendered.of_kind(kind):
            assert any(selects(resource["spec"][where], pod) for pod in labels.values())
    for policy in rendered.of_kind("NetworkPolicy"):
        assert any(selects(policy["spec"]["podSelector"], pod) for pod in labels.values())
    for scaler in rendered.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = rendered.named("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        # Two who say how many there are would fight.
        assert "replicas" not in target["spec"]


DATABASE_CLIENTS = (
    *("gateway", "catalog", "worker", "sweeper", "sender"),
    *("migrate", "auditor", "operator"),
)
BROKER_CLIENTS = ("catalog", "gateway", "worker", "sweeper", "sender")


def test_policies_allow_exactly_the_needed_connections(rendered: Rendered) -> None:
    labels = rendered.pod_labels()
    (database,) = labels.keys() & {"postgres", "database"}
    needed = {("gateway", "catalog", 8001)}
    needed |= {(name, database, 5432) for name in DATABASE_CLIENTS}
    needed |= {(name, "valkey", 6379) for name in BROKER_CLIENTS}
    if database == "database":
        needed.add((database, database, 5432))
    servers = (("gateway", 8000), ("catalog", 8001), (database, 5432), ("valkey", 6379))
    allowed = {
        (source, target, port)
        for source, (target, port) in product(labels, servers)
        if rendered.allows(labels[source], labels[target], port)
    }
    # A NodePort is for everybody, and whoever may call anybody may call it.
    allowed -= {(source, "gateway", 8000) for source in (database, "postgres")}
    assert allowed == needed


def test_an_audit_runs_every_six_hours_as_its_own_login_and_reports_violations_at_once(
    rendered: Rendered,
) -> None:
    cron = rendered.named("CronJob", "auditor")["spec"]
    assert (cron["schedule"], cron["concurrencyPolicy"]) == ("17 */6 * * *", "Forbid")
    job = cron["jobTemplate"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    # The command's exit code of a violation; a policy needs restartPolicy Never.
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [1])
    spec = job["template"]["spec"]
    assert spec["restartPolicy"] == "Never"
    (container,) = spec["containers"]
    assert container["command"] == ["eventify", "audit", "--record"]
    (secrets,) = (volume for volume in spec["volumes"] if volume["name"] == "secrets")
    (source,) = secrets["projected"]["sources"]
    (item,) = source["secret"]["items"]
    assert item == {"key": "eventify_auditor_database_url", "path": "eventify_database_url"}


def test_the_operator_has_a_pod_with_the_rights_of_the_migration_only_when_asked_for(
    rendered: Rendered,
) -> None:
    cron = rendered.named("CronJob", "operator")
    migrate = rendered.named("Job", "migrate")
    assert cron["spec"]["suspend"] is True
    assert pod_spec(cron)["volumes"] == pod_spec(migrate)["volumes"]
    ((container,), (migration,)) = (pod_spec(one)["containers"] for one in (cron, migrate))
    assert container["volumeMounts"] == migration["volumeMounts"]
    # It waits for commands, and ends when nobody deletes it.
    job = cron["spec"]["jobTemplate"]["spec"]
    assert container["command"] == ["sleep", str(job["activeDeadlineSeconds"])]
    assert {"backoffLimit", "ttlSecondsAfterFinished"} <= job.keys()


def test_the_sender_may_go_to_the_internet_and_not_inside(rendered: Rendered) -> None:
    ((rule,),) = (rendered.named("NetworkPolicy", "sender")["spec"][way] for way in ["egress"])
    blocks = [peer["ipBlock"] for peer in rule["to"]]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0", "::/0"]
    excepted = [ip_network(each) for block in blocks for each in block["except"]]
    assert not any(is_allowed_address(str(network[0])) for network in excepted)
    for inside in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "fd00::1"):
        assert any(ip_address(inside) in network for network in excepted)


def test_all_other_connections_of_our_pods_are_denied(rendered: Rendered) -> None:
    deny = rendered.named("NetworkPolicy", "default-deny")["spec"]
    assert deny.keys() == {"podSelector", "policyTypes"}
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    for workload in rendered.ours():
        assert selects(deny["podSelector"], pod_template(workload)["metadata"]["labels"])


def test_every_pod_of_ours_may_resolve_names(rendered: Rendered) -> None:
    resolver = rendered.named("NetworkPolicy", "names")
    for workload in rendered.ours():
        assert selects(
            resolver["spec"]["podSelector"], pod_template(workload)["metadata"]["labels"]
        )


def test_every_secret_comes_from_the_command_or_from_an_operator(rendered: Rendered) -> None:
    printed = CliRunner().invoke(main, ["kubernetes-secrets"])
    made = {(one["kind"], one["metadata"]["name"]) for one in Rendered(printed.output).listed()} | {
        ("Secret", f"{cluster['metadata']['name']}-app") for cluster in rendered.of_kind("Cluster")
    }
    asked = set()
    for workload in rendered.workloads():
        for volume in pod_spec(workload)["volumes"]:
            for source in [*volume.get("projected", {"sources": []})["sources"], volume]:
                if "secret" in source:
                    secret = source["secret"]
                    asked.add(("Secret", secret.get("secretName") or secret["name"]))
                if "configMap" in source:
                    asked.add(("ConfigMap", source["configMap"]["name"]))
    for authentication in rendered.of_kind("TriggerAuthentication"):
        asked |= {("Secret", ref["name"]) for ref in authentication["spec"]["secretTargetRef"]}
    assert asked <= made
    assert not rendered.of_kind("Secret")


def test_private_keys_are_mounted_in_gateways_only(rendered: Rendered) -> None:
    holders = {
        workload["metadata"]["name"]
        for workload in rendered.workloads()
        for volume in pod_spec(workload)["volumes"]
        if volume.get("secret", {}).get("secretName") == "eventify-signing-keys"
    }
    assert holders == {"gateway"}


def test_the_database_confirms_by_a_standby(production: Rendered) -> None:
    """What CloudNativePG 1.28 documents, looked up by hand; no schema of it is at hand here."""
    spec = production.named("Cluster", "database")["spec"]
    assert spec["instances"] == 3
    assert spec["postgresql"]["synchronous"] == {
        "method": "any",
        "number": 1,
        "dataDurability": "required",
        "failoverQuorum": True,
    }
    assert spec["postgresql"]["parameters"]["synchronous_commit"] == "on"
    assert spec["affinity"]["podAntiAffinityType"] == "required"


def test_databases_know_the_case_of_every_letter(rendered: Rendered) -> None:
    """As the embedded PostgreSQL does, which the tests run on."""
    for cluster in rendered.of_kind("Cluster"):
        initdb = cluster["spec"]["bootstrap"]["initdb"]
        assert [initdb[name] for name in ("localeProvider", "builtinLocale", "encoding")] == [
            *("builtin", "C.UTF-8", "UTF8")
        ]
    for stateful_set in rendered.of_kind("StatefulSet"):
        (container,) = containers(stateful_set)
        variables = {one["name"]: one["value"] for one in container["env"]}
        arguments = variables.get("POSTGRES_INITDB_ARGS", "")
        if stateful_set["metadata"]["name"] == "postgres":
            assert arguments.split() == [*LOCALE, "--encoding=UTF8"]


def test_the_ingress_allows_long_polls_and_streams(production: Rendered) -> None:
    annotations = production.named("Ingress", "eventify")["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io"
    assert int(annotations[f"{prefix}/proxy-read-timeout"]) > 2 * SETTINGS.wait_max_seconds
    assert annotations[f"{prefix}/proxy-buffering"] == "off"
    assert annotations[f"{prefix}/proxy-next-upstream"] == "error timeout"


def test_behind_the_ingress_no_client_says_where_the_gateways_are(production: Rendered) -> None:
    """ingress-nginx passes `X-Forwarded-Prefix` on."""
    (rule,) = production.named("Ingress", "eventify")["spec"]["rules"]
    (settings,) = (
        one["data"]
        for one in production.of_kind("ConfigMap")
        if "EVENTIFY_PUBLIC_URL" in one["data"]
    )
    assert settings["EVENTIFY_PUBLIC_URL"] == f"https://{rule['host']}"


def test_the_ingress_routes_to_api_and_pages_and_not_to_operators_paths(
    production: Rendered,
) -> None:
    (rule,) = production.named("Ingress", "eventify")["spec"]["rules"]
    prefixes = {one["path"] for one in rule["http"]["paths"] if one["pathType"] == "Prefix"}
    exact = {one["path"] for one in rule["http"]["paths"] if one["pathType"] == "Exact"}
    assert prefixes == {"/api", ASSETS_URL, "/assets", "/console", "/events", "/session"}
    assert exact == {"/", "/favicon.ico", "/.well-known/jwks.json"}


def test_max_connections_suffices_for_the_largest_number_of_pods(production: Rendered) -> None:
    gateways = production.named("HorizontalPodAutoscaler", "gateway")["spec"]["maxReplicas"]
    workers = production.named("ScaledObject", "worker")["spec"]["maxReplicaCount"]
    # One more of each in a rollout, and ten for people and PostgreSQL's superusers.
    most = POOLS["gateway"] * (gateways + 1) + POOLS["worker"] * (workers + 1) + 10
    for deployment in ("catalog", "sweeper", "sender"):
        replicas = production.named("Deployment", deployment)["spec"]["replicas"]
        most += POOLS[deployment] * (replicas + 1)
    parameters = production.named("Cluster", "database")["spec"]["postgresql"]["parameters"]
    assert int(parameters["max_connections"]) > most


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_service_of_a_restored_database_runs_before_migrate(
    overlay: str, tmp_path: Path
) -> None:
    (replicas,) = re.findall(
        r"^```yaml\n(replicas:\n.*?)^```$",
        (PROJECT / "docs/kubernetes.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    base = os.path.relpath(PROJECT / "deploy/kubernetes/overlays" / overlay, tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{base}]\n{replicas}")
    restoring = render(tmp_path)
    count = {
        one["metadata"]["name"]: one["spec"].get("replicas")
        for one in restoring.of_kind("Deployment")
    }
    services = {name for name in count if name in OURS}
    assert services == {"gateway", "catalog", "worker", "sweeper", "sender"}
    assert {count[name] for name in services} == {0}
