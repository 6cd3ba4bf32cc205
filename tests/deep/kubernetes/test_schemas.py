"""The manifests have the fields that Kubernetes and its operators know, and no others."""

from importlib import import_module

import kubernetes_validate
import pytest

from tests.integration.deploy.kubernetes.rendered import Rendered

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
