"""The provider's account may do what the provider does, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from testbed.api import API
from testbed.cluster import DEPLOY

from nodeset_provider.join.bootstrap_token import KEY_SECRET_NAME

OWN = "nodeset-provider"
ACCOUNT = f"system:serviceaccount:{OWN}:nodeset-provider"
Permission = tuple[str, str, str, str, str]
"""verb, API group, resource, namespace, name; an empty name: no name, so all of them."""

NEEDED: list[Permission] = [
    *((verb, "nodeset.dev", "nodeclasses", "", "") for verb in ("list", "watch")),
    *((verb, "nodeset.dev", "nodesets", "", "") for verb in ("get", "list", "watch", "patch")),
    *((verb, "nodeset.dev", "machines", "", "") for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(("patch", "nodeset.dev", f"{kind}/status", "", "") for kind in ("nodeclasses", "nodesets", "machines")),
    ("update", "nodeset.dev", "nodesets/finalizers", "", ""),
    *((verb, "", "nodes", "", "") for verb in ("get", "list", "watch", "patch", "delete")),
    *((verb, "certificates.k8s.io", "certificatesigningrequests", "", "") for verb in ("list", "watch")),
    ("patch", "certificates.k8s.io", "certificatesigningrequests/approval", "", ""),
    *(
        ("approve", "certificates.k8s.io", "signers", "", f"kubernetes.io/{signer}")
        for signer in ("kube-apiserver-client-kubelet", "kubelet-serving")
    ),
    ("get", "", "namespaces", "", "kube-system"),
    ("get", "", "secrets", OWN, KEY_SECRET_NAME),
    ("create", "", "secrets", OWN, ""),
    *((verb, "coordination.k8s.io", "leases", OWN, "nodeset-provider") for verb in ("get", "update")),
    *((verb, "coordination.k8s.io", "leases", OWN, "") for verb in ("create", "list")),
    *((verb, "", "secrets", "kube-system", "") for verb in ("create", "patch", "delete")),
    *((verb, "", "events", "default", "") for verb in ("create", "patch", "list")),
]
"""Written down from what the code calls, not from the roles."""

REFUSED: list[Permission] = [
    *((verb, "", "secrets", "kube-system", "") for verb in ("get", "list", "watch", "update", "deletecollection")),
    *((verb, "", "secrets", "kube-system", "bootstrap-token-abcdef") for verb in ("get", "update")),
    *((verb, "", "secrets", OWN, "") for verb in ("get", "list", "watch", "update", "patch", "delete")),
    *((verb, "", "secrets", OWN, "another") for verb in ("get", "patch", "delete")),
    *((verb, "", "secrets", OWN, KEY_SECRET_NAME) for verb in ("update", "patch", "delete")),
    *((verb, "", "secrets", "", "") for verb in ("get", "list", "watch", "create")),
    *((verb, "", "secrets", "default", "") for verb in ("get", "create")),
    *((verb, "", "nodes", "", "") for verb in ("create", "update", "deletecollection")),
    *((verb, "", "nodes/status", "", "") for verb in ("patch", "update")),
    ("get", "", "nodes/proxy", "", ""),
    *((verb, "nodeset.dev", "nodesets", "", "") for verb in ("create", "update", "delete", "deletecollection")),
    *((verb, "nodeset.dev", "nodeclasses", "", "") for verb in ("create", "update", "patch", "delete")),
    *((verb, "nodeset.dev", "machines", "", "") for verb in ("update", "deletecollection")),
    *((verb, "", "pods", "default", "") for verb in ("get", "list", "create", "delete")),
    ("create", "", "pods/exec", "default", ""),
    *((verb, "certificates.k8s.io", "certificatesigningrequests", "", "") for verb in ("create", "update", "delete")),
    ("update", "certificates.k8s.io", "certificatesigningrequests/approval", "", ""),
    *((verb, "certificates.k8s.io", "certificatesigningrequests/status", "", "") for verb in ("update", "patch")),
    *(
        ("approve", "certificates.k8s.io", "signers", "", f"kubernetes.io/{signer}")
        for signer in ("kube-apiserver-client", "legacy-unknown", "*")
    ),
    *(
        ("sign", "certificates.k8s.io", "signers", "", f"kubernetes.io/{signer}")
        for signer in ("kube-apiserver-client-kubelet", "kubelet-serving")
    ),
    *(
        (verb, "", "namespaces", "", name)
        for verb, name in (("get", "default"), ("list", ""), ("patch", "kube-system"))
    ),
    *((verb, "coordination.k8s.io", "leases", OWN, "another") for verb in ("get", "update", "delete")),
    ("update", "coordination.k8s.io", "leases", "kube-node-lease", "nodeset-provider"),
    ("list", "coordination.k8s.io", "leases", "kube-node-lease", ""),
    *((verb, "", "events", "kube-system", "") for verb in ("create", "list")),
    *((verb, "rbac.authorization.k8s.io", "clusterroles", "", "") for verb in ("create", "bind", "escalate", "patch")),
    ("impersonate", "", "users", "", ""),
    ("create", "", "serviceaccounts/token", OWN, "nodeset-provider"),
    ("patch", "admissionregistration.k8s.io", "validatingadmissionpolicies", "", ""),
]


def allowed(admin: API, permission: Permission) -> bool:
    verb, group, resource, namespace, name = permission
    plural, _, subresource = resource.partition("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "namespace": namespace,
        "name": name,
    }
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{OWN}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "groups": groups, "resourceAttributes": attributes},
    }
    answer = admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.status == 201, answer
    verdict: bool = answer.body["status"]["allowed"]
    return verdict


def granted() -> Iterator[Permission]:
    """Every single permission of the roles that are bound to the provider's account."""
    documents = list(yaml.safe_load_all((DEPLOY / "base" / "access" / "provider.yaml").read_text()))
    for document in documents:
        if document["kind"] not in {"Role", "ClusterRole"}:
            continue
        namespace = document["metadata"].get("namespace", "")
        for rule in document["rules"]:
            for verb in rule["verbs"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        for name in rule.get("resourceNames", [""]):
                            yield verb, group, resource, namespace, name


@pytest.mark.parametrize("permission", NEEDED, ids=str)
def test_what_the_provider_does_is_allowed(admin: API, permission: Permission) -> None:
    assert allowed(admin, permission)


@pytest.mark.parametrize("permission", REFUSED, ids=str)
def test_what_it_does_not_do_is_refused(admin: API, permission: Permission) -> None:
    assert not allowed(admin, permission)


def test_the_roles_grant_nothing_that_is_not_needed() -> None:
    assert set(granted()) == set(NEEDED)


@pytest.mark.parametrize("namespace", [OWN, "kube-system", "default", "kube-public"])
def test_whatever_is_bound_to_the_account_holds_no_wildcard_and_reads_no_unnamed_secret(
    provider: API, namespace: str
) -> None:
    """All rules that apply, as the API server adds them up: whoever binds more to the account is found out."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    status: dict[str, Any] = provider.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review).body[
        "status"
    ]
    assert not status["incomplete"]
    for rule in status["resourceRules"]:
        assert not [word for key in ("verbs", "apiGroups", "resources") for word in rule.get(key, []) if "*" in word], (
            rule
        )
        if {"get", "list", "watch"} & set(rule["verbs"]) and "secrets" in rule["resources"]:
            assert rule["resourceNames"], rule
            assert not {"list", "watch"} & set(rule["verbs"]), rule
