"""Every rule about the join configuration refuses what it is for, with its message, and lets the good pass."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from testbed.api import API, Answer

from nodeset_provider.api.crd_join import JOIN_FIELDS

PATH = "/apis/nodeset.dev/v1alpha1/nodeclasses"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
EKS = {"mode": "EKS", "eks": {"clusterName": "prod", "cidr": "10.100.0.0/16"}}
RESERVED = {"kubeReserved": {"cpu": "100m"}}
MIRROR = {"registry": "docker.io", "endpoints": ["https://mirror.example.org"]}

Refusal = tuple[dict[str, Any], str, str]


def kubelet(**settings: object) -> dict[str, Any]:
    return {"kubelet": settings}


def modes() -> Iterator[Refusal]:
    yield {"mode": "kubeadm"}, "mode", 'supported values: "Bootstrap"'
    yield {"format": "Script"}, "format", 'supported values: "CloudInit"'
    for endpoint in ("http://10.0.0.1:6443", "10.0.0.1:6443", "https:///path", ""):
        yield {"endpoint": endpoint}, "endpoint", "must be an https URL that machines can reach"
    yield {"mode": "EKS", **kubelet(**RESERVED)}, "", "mode EKS needs eks: give clusterName and cidr"
    yield {**EKS, "mode": "K3s"}, "", "eks is for mode EKS only: remove it"
    yield {"k3s": {"version": "v1.36.1+k3s1"}}, "", "k3s is for mode K3s only: remove it"
    for field, value in (
        ("discovery", "File"),
        ("criSocket", "unix:///run/crio/crio.sock"),
        ("kubeletExtraArgs", [{"name": "v", "value": "4"}]),
        ("patches", [{"target": "kubeletconfiguration", "content": "{}"}]),
        ("ignorePreflightErrors", ["Swap"]),
    ):
        yield {"kubeadm": {field: value}}, "", "kubeadm is for mode Kubeadm only: remove it"
    yield {**EKS, **kubelet(**RESERVED), "format": "Ignition"}, "", "mode EKS needs format CloudInit"
    yield EKS, "", "mode EKS needs kubelet.kubeReserved"
    socket = "unix:///run/containerd/containerd.sock"
    yield (
        {"mode": "Kubeadm", "kubeadm": {"criSocket": socket}, **kubelet(containerRuntimeEndpoint=socket)},
        "",
        "kubeadm.criSocket and kubelet.containerRuntimeEndpoint say the same",
    )
    yield (
        {**EKS, **kubelet(**RESERVED, containerRuntimeEndpoint=socket)},
        "",
        "kubelet.containerRuntimeEndpoint must be left out in this mode: nodeadm starts containerd",
    )
    for mode in ({"mode": "K3s"}, EKS):
        settings = {**RESERVED, "cgroupDriver": "systemd"}
        yield {**mode, **kubelet(**settings)}, "", "kubelet.cgroupDriver must be left out in this mode: k3s and nodeadm"
        settings = {**RESERVED, "servingCertificate": False}
        yield {**mode, **kubelet(**settings)}, "", "kubelet.servingCertificate cannot be false in this mode"


def reservations() -> Iterator[Refusal]:
    for limit in (0, 10001):
        yield kubelet(maxPods=limit), "kubelet.maxPods", "maxPods must be between"
    for field in ("kubeReserved", "systemReserved"):
        yield kubelet(**{field: {"gpu": "1"}}), f"kubelet.{field}", f"{field} takes the keys cpu, memory"
        for amount in ("lots", "-1", "", "1 Gi"):
            yield kubelet(**{field: {"cpu": amount}}), f"kubelet.{field}[cpu]", "must be a quantity of 0 or more"
    yield kubelet(kubeReserved={"cpu": 2}), "kubelet.kubeReserved.cpu", "must be of type string"
    for reserved in ({}, {"kubeReserved": {"memory": "1Gi"}}, {"systemReserved": {"cpu": "0"}}):
        yield kubelet(cpuManagerPolicy="static", **reserved), "kubelet", "cpuManagerPolicy static needs cpu in"


def evictions() -> Iterator[Refusal]:
    for field in ("evictionHard", "evictionSoft", "evictionSoftGracePeriod"):
        yield kubelet(**{field: {"disk": "1s"}}), f"kubelet.{field}", f"{field} takes the keys memory.available"
    for field in ("evictionHard", "evictionSoft"):
        for threshold in ("101%", "-5%", "5 %", "much", "-1Gi"):
            yield (
                kubelet(**{field: {"pid.available": threshold}}),
                f"kubelet.{field}[pid.available]",
                "must be a quantity or a percentage",
            )
    soft = {"memory.available": "1Gi"}
    yield kubelet(evictionSoft=soft), "kubelet", "each signal of evictionSoft needs a duration"
    yield (
        kubelet(evictionSoft=soft, evictionSoftGracePeriod={"pid.available": "1m"}),
        "kubelet",
        "each signal of evictionSoft needs a duration",
    )
    yield (
        kubelet(evictionSoftGracePeriod={"memory.available": "1m"}),
        "kubelet",
        "each signal of evictionSoftGracePeriod needs a value",
    )
    for duration in ("30", "1 m", "-1m", "", "1d"):
        yield (
            kubelet(evictionSoft=soft, evictionSoftGracePeriod={"memory.available": duration}),
            "kubelet.evictionSoftGracePeriod[memory.available]",
            "must be a duration in quotes",
        )
        yield kubelet(shutdownGracePeriod=duration), "kubelet.shutdownGracePeriod", "must be a duration in quotes"
    for field in ("imageGCHighThresholdPercent", "imageGCLowThresholdPercent"):
        for percent in (-1, 101):
            yield kubelet(**{field: percent}), f"kubelet.{field}", f"{field} must be between 0 and 100"
    for high, low in ((80, 80), (70, None), (None, 85)):
        given = {"imageGCHighThresholdPercent": high, "imageGCLowThresholdPercent": low}
        settings = {name: value for name, value in given.items() if value is not None}
        yield kubelet(**settings), "kubelet", "imageGCLowThresholdPercent must be below imageGCHighThresholdPercent"


def other_kubelet_settings() -> Iterator[Refusal]:
    yield kubelet(featureGates={"no-gate": True}), "kubelet.featureGates", "takes names such as NodeSwap"
    for address in ("kube-dns", "10.96.0.10/32", ""):
        yield kubelet(clusterDNS=[address]), "kubelet.clusterDNS[0]", "clusterDNS takes addresses"
    for path in ("resolv.conf", "/etc/", "/a b", ""):
        yield kubelet(resolvConf=path), "kubelet.resolvConf", "must be the absolute path of a file"
    for socket in ("/run/containerd/containerd.sock", "tcp://10.0.0.1:80", "unix://", "unix:///a b"):
        yield kubelet(containerRuntimeEndpoint=socket), "kubelet.containerRuntimeEndpoint", "must be a socket, such as"
    yield kubelet(cpuManagerPolicy="dynamic"), "kubelet.cpuManagerPolicy", "supported values"
    yield kubelet(topologyManagerPolicy="numa"), "kubelet.topologyManagerPolicy", "supported values"
    yield kubelet(cgroupDriver="runc"), "kubelet.cgroupDriver", "supported values"
    yield kubelet(podPidsLimit=0), "kubelet.podPidsLimit", "podPidsLimit must be between"
    for size in ("0", "-1Mi", "big", ""):
        yield kubelet(containerLogMaxSize=size), "kubelet.containerLogMaxSize", "must be a quantity above 0 in quotes"
    for sysctl in ("vm.overcommit_memory", "kernel.pid_max", "net", "net.*.x", "*", "net.ipv4 tcp"):
        yield (
            kubelet(allowedUnsafeSysctls=[sysctl]),
            "kubelet.allowedUnsafeSysctls[0]",
            "takes namespaced ones only",
        )


def settings_of_modes() -> Iterator[Refusal]:
    def kubeadm(**settings: object) -> dict[str, Any]:
        return {"mode": "Kubeadm", "kubeadm": settings}

    yield kubeadm(criSocket="/run/crio/crio.sock"), "kubeadm.criSocket", "criSocket must be a socket, such as"
    yield kubeadm(discovery="None"), "kubeadm.discovery", "supported values"
    for name in ("--v", "V", "a=b", ""):
        yield (
            kubeadm(kubeletExtraArgs=[{"name": name, "value": "1"}]),
            "kubeadm.kubeletExtraArgs[0].name",
            "name must be an argument of the kubelet without dashes before it",
        )
    for value in ("2 --node-labels=a=b", "'", 'a"', "a\\b", "a\nb", "a\tb"):
        yield (
            kubeadm(kubeletExtraArgs=[{"name": "v", "value": value}]),
            "kubeadm.kubeletExtraArgs[0].value",
            "value must not hold blanks, quotes or backslashes",
        )
    for target in ("../kubelet", "Kubelet", ""):
        yield (
            kubeadm(patches=[{"target": target, "content": "{}"}]),
            "kubeadm.patches[0].target",
            "target must be one that kubeadm knows",
        )
    yield kubeadm(ignorePreflightErrors=["a b"]), "kubeadm.ignorePreflightErrors[0]", "takes names of checks"

    for version in ("1.36.1", "v1.36", "latest", ""):
        yield {"mode": "K3s", "k3s": {"version": version}}, "k3s.version", "version must be a release of k3s"
    for key, remedy in (
        ("server", "say it in endpoint"),
        ("token", "remove it"),
        ("token-file", "remove it"),
        ("node-name", "remove it"),
        ("with-node-id", "remove it"),
        ("data-dir", "remove it"),
        ("node-label", "say it in spec.nodeLabels"),
        ("node-taint", "say it in the taints of the NodeSet"),
        ("private-registry", "say it in registryMirrors"),
        ("container-runtime-endpoint", "say it in kubelet.containerRuntimeEndpoint"),
        ("resolv-conf", "say it in kubelet.resolvConf"),
    ):
        message = f"k3s.config.{key} is set by the provider: {remedy}"
        yield {"mode": "K3s", "k3s": {"config": {key: "x"}}}, "k3s.config", message

    for name in ("", "a b", "-a"):
        yield (
            {**EKS, "eks": {**EKS["eks"], "clusterName": name}},
            "eks.clusterName",
            "must be the name of an EKS cluster",
        )
    for cidr in ("10.100.0.0", "all", ""):
        yield {**EKS, "eks": {**EKS["eks"], "cidr": cidr}}, "eks.cidr", "cidr must be the service network"


def surroundings() -> Iterator[Refusal]:
    for field in ("http", "https"):
        for url in ("proxy:3128", "socks5://proxy:1080", "http://", ""):
            yield {"proxy": {field: url}}, f"proxy.{field}", "must be the URL of a proxy"
        yield (
            {"proxy": {field: "http://me:s3cret@proxy:3128"}},
            f"proxy.{field}",
            "must not hold a user name or password",
        )
    yield {"endpoint": "https://me:s3cret@10.0.0.1:6443"}, "endpoint", "must not hold a user name or password"
    mirror = {**MIRROR, "endpoints": ["https://me:s3cret@mirror"]}
    yield {"registryMirrors": [mirror]}, "registryMirrors[0].endpoints[0]", "must not hold a user name or password"
    yield {"proxy": {"noProxy": ["10.0.0.0/8"]}}, "proxy", "noProxy says nothing without a proxy"
    for host in ("a b", "a,b", ""):
        proxy = {"http": "http://proxy:3128", "noProxy": [host]}
        yield {"proxy": proxy}, "proxy.noProxy[0]", "must be one host, domain or network"
    for pem in ("MIIB", "-----BEGIN CERTIFICATE-----", ""):
        yield {"caCertificates": [pem]}, "caCertificates[0]", "must be a certificate in PEM form"
    key = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"
    yield {"caCertificates": [PEM + key]}, "caCertificates[0]", "holds a private key"
    yield (
        {"registryMirrors": [{**MIRROR, "caCertificate": key}]},
        "registryMirrors[0].caCertificate",
        "holds a private key",
    )
    for registry in ("https://docker.io", "Docker.io", "", "docker.io/library"):
        yield {"registryMirrors": [{**MIRROR, "registry": registry}]}, "registryMirrors[0].registry", "must be a host"
    for url in ("mirror.example.org", "ftp://mirror", "https://", ""):
        yield (
            {"registryMirrors": [{**MIRROR, "endpoints": [url]}]},
            "registryMirrors[0].endpoints[0]",
            "endpoints takes URLs",
        )
    yield {"registryMirrors": [{**MIRROR, "endpoints": []}]}, "registryMirrors[0].endpoints", "at least 1 item"
    yield {"registryMirrors": [MIRROR, MIRROR]}, "registryMirrors[1]", "Duplicate value"


REFUSED = [
    refusal
    for refusals in (modes, reservations, evictions, other_kubelet_settings, settings_of_modes, surroundings)
    for refusal in refusals()
]


def ask(admin: API, join: dict[str, Any]) -> Answer:
    spec = {"driver": "simulated", "join": join}
    body = {"apiVersion": "nodeset.dev/v1alpha1", "kind": "NodeClass", "metadata": {"name": "good"}, "spec": spec}
    return admin.create(PATH, body, dry_run=True)


@pytest.mark.parametrize(
    ("join", "field", "message"), REFUSED, ids=[f"{number}:{join}"[:80] for number, (join, *_) in enumerate(REFUSED)]
)
def test_bad_join_is_refused_by_name_and_with_the_remedy(
    admin: API, join: dict[str, Any], field: str, message: str
) -> None:
    answer = ask(admin, join)
    assert answer.status == 422, answer
    assert message in answer.refused
    assert f"spec.join.{field}".removesuffix(".") in answer.refused


@pytest.mark.parametrize(
    "join",
    [
        {"endpoint": "https://[2001:db8::1]:6443"},
        {"format": "Ignition"},
        {"mode": "Kubeadm"},
        {
            "mode": "Kubeadm",
            "kubeadm": {
                "discovery": "File",
                "criSocket": "unix:///run/crio/crio.sock",
                "kubeletExtraArgs": [{"name": "v", "value": "4"}, {"name": "v", "value": "5"}],
                "patches": [{"target": "kubeletconfiguration", "content": "{}", "type": "json"}],
                "ignorePreflightErrors": ["all", "FileContent--proc-sys-net-ipv4-ip_forward"],
            },
        },
        {"mode": "K3s"},
        {
            "mode": "K3s",
            "k3s": {
                "version": "v1.36.1-rc1+k3s1",
                "installCommand": "curl -sfL https://get.k3s.io | sh -",
                "config": {"flannel-iface": "eth1", "node-ip": ["10.0.0.1"], "selinux": True, "lb-server-port": 6444},
            },
        },
        {**EKS, **kubelet(**RESERVED)},
        {**EKS, **kubelet(**RESERVED), "eks": {"clusterName": "a", "cidr": "fd00:1::/108"}},
        kubelet(maxPods=250, kubeReserved={"cpu": "0", "memory": "1.5Gi", "pid": "100"}),
        kubelet(evictionHard={"memory.available": "100Mi", "nodefs.available": "10%"}),
        kubelet(evictionHard={"imagefs.inodesFree": "7.5%", "pid.available": "100%"}),
        kubelet(evictionSoft={"nodefs.available": "15%"}, evictionSoftGracePeriod={"nodefs.available": "1m30.5s"}),
        kubelet(featureGates={"NodeSwap": True}, servingCertificate=False),
        kubelet(cpuManagerPolicy="static", topologyManagerPolicy="single-numa-node", systemReserved={"cpu": "500m"}),
        kubelet(imageGCHighThresholdPercent=81, imageGCLowThresholdPercent=0, podPidsLimit=4096),
        kubelet(
            clusterDNS=["10.96.0.10", "2001:db8::a"],
            resolvConf="/run/systemd/resolve/resolv.conf",
            containerRuntimeEndpoint="unix:///run/containerd/containerd.sock",
            cgroupDriver="cgroupfs",
            containerLogMaxSize="10Mi",
            shutdownGracePeriod="1h2m3s",
            allowedUnsafeSysctls=["net.core.somaxconn", "kernel.msg*", "net.ipv4.*", "net.*", "fs.mqueue.msg_max"],
        ),
        {
            "proxy": {"https": "http://[::1]:3128", "noProxy": ["10.0.0.0/8", ".example.org", "*.local", "fd00::/8"]},
            "caCertificates": [PEM, PEM * 2],
            "registryMirrors": [
                {"registry": "*", "endpoints": ["http://10.0.0.5:5000"]},
                {"registry": "reg.example.org:5000", "endpoints": ["https://m/v2/proxy"], "caCertificate": PEM},
            ],
        },
    ],
    ids=lambda join: str(join)[:80],
)
def test_good_join_is_accepted(admin: API, join: dict[str, Any]) -> None:
    assert not ask(admin, join).refused


def test_every_message_of_every_rule_was_seen_by_a_test() -> None:
    seen = [message for *_, message in REFUSED]

    def messages(schema: Mapping[str, Any]) -> Iterator[str]:
        for rule in schema.get("x-kubernetes-validations", []):
            yield rule["message"]
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                yield from messages(schema[key])

    rules = {text for fields in JOIN_FIELDS.values() for schema in fields.values() for text in messages(schema)}
    assert {text for text in rules if not any(part in text for part in seen)} == set()
