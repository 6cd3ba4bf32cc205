"""The manifests have the fields that Kubernetes and its operators know, and no others."""

import re
import subprocess
from importlib import import_module

import kubernetes_validate
import pytest
import yaml

from tests.integration.deploy.kubernetes.rendered import Rendered
from tests.support.services import PROJECT

# The oldest with all that is used, and the newest that was checked (docs/kubernetes.md).
KUBERNETES_VERSIONS = ("1.30", "1.37")
# Whose schemas are not those of Kubernetes, and where models of them are.
OF_OPERATORS = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
    # No package has its schema: test_the_database_confirms_by_a_standby looks at what matters.
    "postgresql.cnpg.io/v1": None,
}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_knows_every_field(rendered: Rendered, version: str) -> None:
    for resource in rendered.resources:
        if resource["apiVersion"] not in OF_OPERATORS:
            kubernetes_validate.validate(resource, version, strict=True)


def test_operators_know_every_field_of_their_resources(production: Rendered) -> None:
    checked = set()
    for resource in production.resources:
        models = OF_OPERATORS.get(resource["apiVersion"])
        if models is not None:
            # Not above: it takes seconds, and every process of the tests reads this file.
            model = getattr(import_module(models), resource["kind"]).model_validate(resource)
            # A field that the model does not know is missing here.
            assert model.model_dump(by_alias=True, exclude_unset=True, mode="json") == resource
            checked.add(resource["kind"])
    assert checked == {"ScaledObject", "TriggerAuthentication", "PodMonitor"}


def test_the_command_of_the_guide_makes_resources_of_all_rules() -> None:
    guide = (PROJECT / "docs/kubernetes.md").read_text()
    (command,) = re.findall(r"```sh\n(for file in .*?) \| kubectl .*?\n```", guide, re.DOTALL)
    shown = subprocess.run(["sh", "-c", command], cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    resources = [one for one in yaml.safe_load_all(shown.stdout) if one is not None]
    files = sorted((PROJECT / "deploy/observability/prometheus/rules").glob("*.yml"))
    rules = [yaml.safe_load(file.read_text()) for file in files]
    assert [one["spec"] for one in resources] == rules
    model = import_module(OF_OPERATORS["monitoring.coreos.com/v1"] or "").PrometheusRule
    for resource in resources:
        checked = model.model_validate(resource)
        assert checked.model_dump(by_alias=True, exclude_unset=True, mode="json") == resource
