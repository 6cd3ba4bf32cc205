"""Rendered manifests, with queries."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

Resource = dict[str, Any]
OURS = ("gateway", "catalog", "worker", "sweeper", "sender", "auditor", "migrate", "operator")
# What CloudNativePG makes of a Cluster: pods that bear this label.
OPERATOR_PODS = {"Cluster": "cnpg.io/cluster"}


class Rendered:
    """All resources of an overlay."""

    def __init__(self, text: str) -> None:
        self.resources: list[Resource] = [one for one in yaml.safe_load_all(text) if one]

    def of_kind(self, *kinds: str) -> list[Resource]:
        return [one for one in self.resources if one["kind"] in kinds]

    def listed(self) -> list[Resource]:
        """The items of its one List."""
        (whole,) = self.of_kind("List")
        items: list[Resource] = whole["items"]
        return items

    def named(self, kind: str, name: str) -> Resource:
        (found,) = (one for one in self.of_kind(kind) if one["metadata"]["name"] == name)
        return found

    def workloads(self) -> list[Resource]:
        """Resources with pods, except those of operators."""
        return self.of_kind("Deployment", "StatefulSet", "Job", "CronJob")

    def ours(self) -> list[Resource]:
        return [one for one in self.workloads() if one["metadata"]["name"] in OURS]

    def pod_labels(self) -> dict[str, Mapping[str, str]]:
        """The labels of the pods of each workload, and of the operator's database."""
        labels = {
            one["metadata"]["name"]: pod_template(one)["metadata"]["labels"]
            for one in self.workloads()
        }
        for kind, label in OPERATOR_PODS.items():
            for one in self.of_kind(kind):
                name = one["metadata"]["name"]
                labels[name] = {label: name}
        return labels

    def allows(self, source: Mapping[str, str], target: Mapping[str, str], port: int | str) -> bool:
        """Whether the policies let a pod of this namespace reach another one's port."""
        return self._lets("Egress", source, target, port) and self._lets(
            "Ingress", target, source, port
        )

    def _lets(
        self, way: str, pod: Mapping[str, str], other: Mapping[str, str], port: int | str
    ) -> bool:
        policies = [
            one["spec"]
            for one in self.of_kind("NetworkPolicy")
            if way in one["spec"]["policyTypes"] and selects(one["spec"]["podSelector"], pod)
        ]
        if not policies:
            return True
        rules = [rule for policy in policies for rule in policy.get(way.lower(), [])]
        peers = {"Egress": "to", "Ingress": "from"}[way]
        return any(
            ("ports" not in rule or port in {allowed["port"] for allowed in rule["ports"]})
            and (peers not in rule or any(_is_peer(peer, other) for peer in rule[peers]))
            for rule in rules
        )


def _is_peer(peer: Mapping[str, Any], pod: Mapping[str, str]) -> bool:
    """Blocks of addresses are of the Internet (a test says so): no pod is there."""
    return peer.keys() == {"podSelector"} and selects(peer["podSelector"], pod)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector means a pod."""
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )


def pod_template(workload: Resource) -> dict[str, Any]:
    spec = workload["spec"]
    template: dict[str, Any] = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]
    return template


def pod_spec(workload: Resource) -> dict[str, Any]:
    spec: dict[str, Any] = pod_template(workload)["spec"]
    return spec


def containers(workload: Resource) -> Iterator[dict[str, Any]]:
    spec = pod_spec(workload)
    yield from spec.get("initContainers", [])
    yield from spec["containers"]
