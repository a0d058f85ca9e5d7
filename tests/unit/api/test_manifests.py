import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from nodeset_provider.api.crd import custom_resource_definition
from nodeset_provider.api.crd_rules import KINDS
from nodeset_provider.api.names import BOOTSTRAP_GROUP, CSR_SIGNER_CLIENT, CSR_SIGNER_SERVING, GROUP
from nodeset_provider.config import load
from nodeset_provider.join import bootstrap_token

DEPLOY = Path(__file__).parents[3] / "deploy"
KUBERNETES = "1.36"
Manifest = dict[str, Any]


def manifests(folder: Path) -> list[tuple[Path, Manifest]]:
    """Every object below a folder, as kustomize would collect them."""
    return [
        (path, document)
        for path in sorted(folder.rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document.get("kind") != "Kustomization"
    ]


ALL = manifests(DEPLOY)


def one(kind: str, name: str, namespace: str = "") -> Manifest:
    """Of that kind and name, but for the examples, which make others like it."""
    (found,) = (
        document
        for path, document in ALL
        if "examples" not in path.parts
        and document["kind"] == kind
        and document["metadata"]["name"] == name
        and document["metadata"].get("namespace", "") == namespace
    )
    return found


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(document, id=f"{path.relative_to(DEPLOY)}:{document['kind']}/{document['metadata']['name']}")
        for path, document in ALL
        if not document["apiVersion"].startswith(GROUP)
    ],
)
def test_manifest_is_valid_for_kubernetes(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    broken = one("Service", "nodeset-provider", "nodeset-provider")
    broken = {**broken, "spec": {**broken["spec"], "selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(document, id=f"{document['kind']}/{document['metadata']['name']}")
        for _, document in ALL
        if document["apiVersion"].startswith(GROUP)
    ],
)
def test_example_is_what_the_types_know_and_nothing_else(manifest: Manifest) -> None:
    kind = next(kind for kind in KINDS if kind.root.__name__ == manifest["kind"])
    msgspec.convert(manifest["spec"], kind.spec)
    schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert unknown(manifest["spec"], schema["properties"]["spec"]) == []


def unknown(value: object, schema: Manifest, path: str = "spec") -> list[str]:
    if isinstance(value, list):
        return [found for item in value for found in unknown(item, schema["items"], f"{path}[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    below = [found for key in value.keys() & known.keys() for found in unknown(value[key], known[key], f"{path}.{key}")]
    return [f"{path}.{key}" for key in value.keys() - known.keys()] + below


@pytest.mark.parametrize(
    "folder", ["base", "base/crds", "base/access", "base/provider", "autoscaler", "components/kubeadm"]
)
def test_kustomization_lists_every_file_beside_it(folder: str) -> None:
    listed = yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text())["resources"]
    there = [path.name for path in (DEPLOY / folder).iterdir() if path.suffix == ".yaml" or path.is_dir()]
    assert sorted(listed) == sorted(set(there) - {"kustomization.yaml"})


@pytest.mark.parametrize("folder", ["base", "autoscaler", "examples/simulated", "examples/libvirt", "examples/ssh"])
def test_kustomize_builds(folder: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not in PATH; tests/integration applies these folders with the testbed's")
    built = subprocess.run([kubectl, "kustomize", DEPLOY / folder], check=True, capture_output=True, text=True)
    assert len(list(yaml.safe_load_all(built.stdout))) == len(manifests(DEPLOY / folder))


def test_the_settings_in_the_config_map_are_settings_of_the_server(tmp_path: Path) -> None:
    text = one("ConfigMap", "nodeset-provider", "nodeset-provider")["data"]["config.yaml"]
    path = tmp_path / "config.yaml"
    path.write_text(text)
    settings = load(file=str(path), environment={}, flags={}).settings
    deployment = one("Deployment", "nodeset-provider", "nodeset-provider")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.grpc.listen == f"0.0.0.0:{ports['grpc']}"
    assert settings.http.listen == f"0.0.0.0:{ports['http']}"
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    for file in (settings.grpc.cert_file, settings.grpc.key_file, settings.grpc.client_ca_file):
        assert str(Path(file).parent) in mounts
    role = one("Role", "nodeset-provider", "nodeset-provider")
    assert [settings.leader_election.lease_name] in [rule.get("resourceNames") for rule in role["rules"]]
    assert settings.namespace == "nodeset-provider"


def test_names_in_the_roles_are_the_names_in_the_code() -> None:
    role = one("Role", "nodeset-provider", "nodeset-provider")
    named = [
        rule["resourceNames"] for rule in role["rules"] if "secrets" in rule["resources"] and "resourceNames" in rule
    ]
    assert named == [[bootstrap_token.KEY_SECRET_NAME]]
    one("Role", "nodeset-provider-bootstrap-tokens", bootstrap_token.TOKEN_NAMESPACE)
    cluster_role = one("ClusterRole", "nodeset-provider")
    signers = [rule["resourceNames"] for rule in cluster_role["rules"] if "signers" in rule["resources"]]
    assert signers == [[CSR_SIGNER_CLIENT, CSR_SIGNER_SERVING]]
    join = one("ClusterRoleBinding", "nodeset-machines-join")
    assert [subject["name"] for subject in join["subjects"]] == [BOOTSTRAP_GROUP]


def test_nobody_but_nodes_themselves_gets_certificates_approved_by_the_controller_manager() -> None:
    """`nodeclient` approves any node's name for whoever is bound to it."""
    nodeclient = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
    bindings = [document for _, document in ALL if document["kind"] in {"RoleBinding", "ClusterRoleBinding"}]
    assert bindings
    assert not [binding for binding in bindings if binding["roleRef"]["name"] == nodeclient]
    forbidden = "kubeadm:default-node-token"
    assert not [b for b in bindings for subject in b["subjects"] if forbidden in subject["name"]]


def test_the_autoscaler_asks_the_service_by_a_name_of_the_certificate() -> None:
    cloud_config = yaml.safe_load(
        one("ConfigMap", "cluster-autoscaler-cloud-config", "nodeset-provider")["data"]["cloud-config.yaml"]
    )
    host, _, port = cloud_config["address"].rpartition(":")
    service = one("Service", "nodeset-provider", "nodeset-provider")
    assert host == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert int(port) in [entry["port"] for entry in service["spec"]["ports"]]
    assert {"cert", "key", "cacert"} <= set(cloud_config)


def test_no_role_of_ours_holds_a_wildcard() -> None:
    for path, document in ALL:
        for rule in document.get("rules", []) if document["kind"] in {"Role", "ClusterRole"} else []:
            for key in ("apiGroups", "resources", "verbs", "resourceNames"):
                assert not [value for value in rule.get(key, []) if "*" in value], (path, rule)


def test_pods_run_without_root_privileges_or_writable_root() -> None:
    for _, document in ALL:
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
            assert "memory" in container["resources"]["limits"]
            assert "cpu" not in container["resources"]["limits"]
