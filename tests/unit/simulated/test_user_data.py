"""User-data is used as a real first boot uses it, and nothing in it can do worse than not join."""

import base64
import gzip
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from nodeset_driver_simulated.boot.cloud_config import read_cloud_config
from nodeset_driver_simulated.boot.errors import BootError
from nodeset_driver_simulated.boot.join import Join, read_join

SECRET = "abcdef.0123456789abcdef"
CA = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
START = ["systemctl", "restart", "--no-block", "kubelet"]
ARGUMENTS = (
    "kubelet --bootstrap-kubeconfig=/b.conf --kubeconfig=/k.conf --config=/c.yaml"
    " --cert-dir=/pki --hostname-override=node-1 --node-labels=a=b,topology.kubernetes.io/zone=z"
)
DROP_IN = "/etc/systemd/system/kubelet.service.d/20-nodeset.conf"


def kubeconfig() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://h:1", "certificate-authority": "/ca.crt"}}],
        "users": [{"name": "u", "user": {"token": SECRET}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


def settings() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "providerID": "simulated://i-1",
        "registerWithTaints": [{"key": "t", "effect": "NoExecute"}],
    }


def files() -> dict[str, Any]:
    return {
        "/ca.crt": CA,
        "/b.conf": kubeconfig(),
        "/c.yaml": settings(),
        DROP_IN: f"[Service]\nExecStart=\nExecStart={ARGUMENTS}\n",
    }


def user_data(content: dict[str, Any] | None = None, **keys: Any) -> bytes:
    entries = [
        {"path": path, "content": text if isinstance(text, str) else yaml.safe_dump(text)}
        for path, text in (files() if content is None else content).items()
    ]
    return b"#cloud-config\n" + yaml.safe_dump({"write_files": entries, "runcmd": [START], **keys}).encode()


def why_not(raw: bytes) -> str:
    with pytest.raises(BootError) as error:
        read_join(raw, hostname="host")
    assert SECRET not in str(error.value)
    return str(error.value)


def changed(path: str, *keys: Any, to: object) -> bytes:
    """User-data in which one value of one file is another; ``to`` None takes it away."""
    content = files()
    place = content[path]
    for key in keys[:-1]:
        place = place[key]
    if to is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = to
    return user_data(content)


def test_everything_is_taken_from_the_files_that_the_flags_name() -> None:
    assert read_join(user_data(), hostname="host") == Join(
        server="https://h:1",
        ca_pem=CA,
        token=SECRET,
        node_name="node-1",
        labels={"a": "b", "topology.kubernetes.io/zone": "z"},
        taints=({"key": "t", "effect": "NoExecute"},),
        provider_id="simulated://i-1",
        settings=settings(),
    )


def test_token_is_in_no_repr() -> None:
    assert SECRET not in repr(read_join(user_data(), hostname="host"))


@pytest.mark.parametrize(("override", "wanted"), [("", "from-config"), ("--hostname-override=N2", "n2")])
def test_node_name_is_the_override_or_the_host_name(override: str, wanted: str) -> None:
    content = files()
    content[DROP_IN] = content[DROP_IN].replace("--hostname-override=node-1", override)
    assert read_join(user_data(content, hostname="from-config"), hostname="host").node_name == wanted


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "does not begin with #cloud-config"),
        (b"#!/bin/sh\n", "does not begin with #cloud-config"),
        (b"#cloud-config-archive\n[]", "does not begin with #cloud-config"),
        (b"#cloud-config\n- a list", "not a mapping"),
        (b"#cloud-config\na: [", "not YAML"),
        (b"#cloud-config\n" + b"[" * 16000, "not YAML"),
        (b"#cloud-config\na: \x00", "not YAML"),
        (b"#cloud-config\na: !!python/object/apply:os.system [x]", "not YAML"),
        (b"#cloud-config\na: !!timestamp x", "not YAML"),
        (b"#cloud-config\na: !!bool x", "not YAML"),
        (b"#cloud-config\n\xff\xfe", "not UTF-8"),
        (b"\x1f\x8bnot gzip", "gzip"),
        (gzip.compress(b"#cloud-config\n" + b"#" * (1 << 22)), "unpacks to more"),
        (b"#cloud-config\nwrite_files: 7", "write_files is not a list"),
        (b"#cloud-config\nwrite_files: [{path: x}]", "no absolute path"),
        (b"#cloud-config\nwrite_files: [{path: /x, content: [1]}]", "content of /x"),
        (b"#cloud-config\nwrite_files: [{path: /x, encoding: b64, content: YQ}]", "not base64"),
        (b"#cloud-config\n{}", "nothing in runcmd starts kubelet"),
        (user_data(runcmd=["systemctl enable kubelet"]), "nothing in runcmd starts kubelet"),
        (user_data(runcmd=["systemctl restart containerd"]), "nothing in runcmd starts kubelet"),
        (user_data({}), "no drop-in"),
        (user_data({**files(), DROP_IN: f"[Service]\nExecStart={ARGUMENTS}\nExecStart={ARGUMENTS}"}), "more than one"),
        (user_data({**files(), DROP_IN: f"[Unit]\nExecStart={ARGUMENTS}"}), "no drop-in"),
        (user_data({**files(), DROP_IN: "[Service]\nExecStart=sleep 1"}), "no drop-in"),
        (user_data({**files(), DROP_IN: f'[Service]\nExecStart={ARGUMENTS} "'}), "ExecStart"),
        (user_data({**files(), DROP_IN: f"[Service]\nExecStart={ARGUMENTS} $MORE"}), "variable"),
        (
            user_data({**files(), DROP_IN: f"[Service]\nExecStart={ARGUMENTS} --nod-labels=x"}),
            "unknown flag: --nod-lab",
        ),
        (user_data({**files(), DROP_IN: "[Service]\nExecStart=kubelet --kubeconfig=/k"}), "no --bootstrap-kubeconfig"),
        (user_data({key: value for key, value in files().items() if key != "/ca.crt"}), "open /ca.crt: no such file"),
        (user_data({key: value for key, value in files().items() if key != "/b.conf"}), "open /b.conf: no such file"),
        (user_data({key: value for key, value in files().items() if key != "/c.yaml"}), "open /c.yaml: no such file"),
        (user_data({**files(), "/b.conf": "a: ["}), "/b.conf is not YAML"),
        (user_data({**files(), "/c.yaml": "kind: Pod"}), "not a KubeletConfiguration"),
        (changed("/b.conf", "current-context", to="other"), "no context 'other'"),
        (changed("/b.conf", "users", 0, "user", "token", to=None), "has no token"),
        (changed("/b.conf", "users", 0, "user", "token", to="a\nb"), "has no token"),
        (changed("/b.conf", "clusters", 0, "cluster", "server", to="http://h:1"), "not an https URL"),
        (changed("/b.conf", "clusters", 0, "cluster", "certificate-authority", to=None), "no certificate authority"),
        (changed("/c.yaml", "registerWithTaints", to=[{"key": "x", "effect": "Never"}]), "is not a taint"),
        (changed("/c.yaml", "authentication", to=["x"]), "authentication is not a mapping"),
        (
            changed("/c.yaml", "authentication", to={"x509": {"clientCAFile": "/no.crt"}}),
            "unable to load client CA file",
        ),
    ],
)
def test_wrong_user_data_does_not_join_and_says_why(raw: bytes, reason: str) -> None:
    assert reason in why_not(raw)


@pytest.mark.parametrize(
    "label",
    [
        "node-role.kubernetes.io/worker=",
        "node-restriction.kubernetes.io/x=y",
        "kubernetes.io/x=y",
        "x.k8s.io/y=z",
    ],
)
def test_label_that_a_kubelet_may_not_set_does_not_join(label: str) -> None:
    content = files()
    content[DROP_IN] = content[DROP_IN].replace("a=b", label)
    assert "unknown 'kubernetes.io' or 'k8s.io' labels" in why_not(user_data(content))


@pytest.mark.parametrize("label", ["node.kubernetes.io/x=y", "a.kubelet.kubernetes.io/x=y", "notkubernetes.io/x=y"])
def test_label_that_a_kubelet_may_set_is_on_the_node(label: str) -> None:
    content = files()
    content[DROP_IN] = content[DROP_IN].replace("a=b", label)
    assert read_join(user_data(content), hostname="host").labels[label[:-2]] == "y"


@pytest.mark.parametrize("encoding", ["b64", "base64", "gz+b64", "gzip+base64"])
def test_encoded_files_are_decoded(encoding: str) -> None:
    content = gzip.compress(b"\0\xff") if encoding.startswith("gz") else b"\0\xff"
    entry = {"path": "/x", "encoding": encoding, "content": base64.b64encode(content).decode()}
    raw = b"#cloud-config\n" + yaml.safe_dump({"write_files": [entry]}).encode()
    assert read_cloud_config(raw).files == {"/x": b"\0\xff"}


def test_gzipped_user_data_is_user_data() -> None:
    assert read_join(gzip.compress(user_data()), hostname="host") == read_join(user_data(), hostname="host")


def test_later_file_replaces_and_append_appends() -> None:
    entries = b"[{path: /x, content: a}, {path: /x, content: b}, {path: /x, content: c, append: true}]"
    assert read_cloud_config(b"#cloud-config\nwrite_files: " + entries).files == {"/x": b"bc"}


@pytest.mark.parametrize(
    "command",
    [
        ["systemctl", "start", "kubelet"],
        "systemctl enable --now kubelet.service",
        ["sh", "-c", "systemctl daemon-reload; systemctl restart kubelet"],
    ],
)
def test_every_usual_way_starts_the_kubelet(command: object) -> None:
    assert read_join(user_data(runcmd=[command]), hostname="host").node_name == "node-1"


def test_external_cloud_provider_brings_its_taint() -> None:
    content = files()
    content[DROP_IN] = content[DROP_IN].replace("--cert-dir=/pki", "--cloud-provider=external")
    keys = [taint["key"] for taint in read_join(user_data(content), hostname="host").taints]
    assert keys == ["t", "node.cloudprovider.kubernetes.io/uninitialized"]


def test_aliases_and_merges_cost_no_more_than_their_size() -> None:
    aliases = "\n".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(60))
    merges = "\n".join(
        f"m{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 9)}], k{n}: v}}" if n else "m0: &m0 {k: v}" for n in range(60)
    )
    begun = time.process_time()
    assert "nothing in runcmd" in why_not(f"#cloud-config\n{aliases}".encode())
    assert "nothing in runcmd" in why_not(f"#cloud-config\n{merges}".encode())
    assert time.process_time() - begun < 5


@limits(deadline=None)  # the machine may be busy with something else
@given(st.binary(max_size=400))
def test_no_bytes_do_worse_than_not_join(tail: bytes) -> None:
    for raw in (tail, b"#cloud-config\n" + tail, user_data() + tail, gzip.compress(tail)):
        try:
            read_join(raw, hostname="host")
        except BootError:
            continue


@limits(deadline=None)  # the machine may be busy with something else
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(
        [
            ("/b.conf", "users"),
            ("/b.conf", "clusters", 0, "cluster"),
            ("/b.conf", "contexts", 0, "context", "user"),
            ("/b.conf", "current-context"),
            ("/c.yaml", "registerWithTaints"),
            ("/c.yaml", "authentication"),
            ("/c.yaml", "providerID"),
        ]
    ),
)
def test_no_value_in_a_file_does_worse_than_not_join(value: object, path: tuple[Any, ...]) -> None:
    if value is None:
        return
    try:
        read_join(changed(path[0], *path[1:], to=value), hostname="host")
    except BootError:
        return
