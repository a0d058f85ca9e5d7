"""Every setting with its type, its default and the text that ``--help`` shows. Nothing here does anything."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from nodeset_provider.api import names


class _Section(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Base of all sections."""


class Grpc(_Section, frozen=True):
    """The door that the Cluster Autoscaler knocks at."""

    listen: Annotated[
        str, Meta(description="Address of the gRPC server: host:port (port 0: any free one) or unix:/path.")
    ]
    cert_file: Annotated[
        str, Meta(description="PEM certificate chain of the gRPC server; read again when it changes.")
    ] = ""
    key_file: Annotated[str, Meta(description="PEM private key that belongs to it.")] = ""
    client_ca_file: Annotated[
        str, Meta(description="PEM certificates of the CA that clients must have a certificate of.")
    ] = msgspec.field(default="", name="clientCAFile")


class Http(_Section, frozen=True):
    """Probes and metrics."""

    listen: Annotated[
        str,
        Meta(description="Address of /metrics, /readyz and /healthz: host:port (port 0: any free one); empty: none."),
    ]


class LeaderElection(_Section, frozen=True):
    """One replica runs the controllers; times in seconds, as client-go names them."""

    lease_name: Annotated[str, Meta(description="Name of the Lease in the provider's namespace.")] = "nodeset-provider"
    identity: Annotated[
        str, Meta(description="Name of this replica, different for each; empty: host name and a random part.")
    ] = ""
    lease_duration_seconds: Annotated[float, Meta(description="After this long without renewal another may lead.")] = 15
    renew_deadline_seconds: Annotated[
        float, Meta(description="The leader stops when it could not renew for so long.")
    ] = 10
    retry_period_seconds: Annotated[float, Meta(description="Time between two tries.")] = 2


class Join(_Section, frozen=True):
    """What machines are told about the cluster."""

    endpoint: Annotated[
        str,
        Meta(description="https URL of the API server as machines reach it; empty: the one that the provider uses."),
    ] = ""
    ca_file: Annotated[
        str, Meta(description="PEM certificates that vouch for it; empty: those that the provider uses.")
    ] = ""
    cluster_dns: Annotated[
        tuple[str, ...], Meta(description="Addresses of the cluster's DNS service for the kubelets.")
    ] = msgspec.field(default=(), name="clusterDNS")
    cluster_domain: Annotated[str, Meta(description="DNS domain of the cluster.")] = "cluster.local"


class Log(_Section, frozen=True):
    """What is written to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least that is worth a line.")
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="One JSON object a line, or text for people; auto: by terminal."),
    ] = "auto"


class Settings(_Section, frozen=True):
    """All of it."""

    grpc: Grpc = Grpc(listen="127.0.0.1:8086")
    http: Http = Http(listen="127.0.0.1:8081")
    leader_election: LeaderElection = LeaderElection()
    join: Join = Join()
    log: Log = Log()
    namespace: Annotated[
        str,
        Meta(
            description="The provider's own namespace: its Lease and Secrets; empty: the Pod's, else nodeset-provider."
        ),
    ] = ""
    kubeconfig: Annotated[
        str, Meta(description="Kubeconfig file; empty: KUBECONFIG, ~/.kube/config or the Pod's account.")
    ] = ""
    context: Annotated[str, Meta(description="Context in the kubeconfig; empty: its current one.")] = ""
    drivers: Annotated[
        tuple[str, ...], Meta(description="Drivers that this process serves; empty: all that are installed.")
    ] = ()
    gpu_label: Annotated[str, Meta(description="Label that GPU nodes carry, its value is the GPU's type.")] = (
        names.LABEL_GPU
    )
    insecure: Annotated[bool, Meta(description="Serve gRPC in plaintext also where other machines can reach it.")] = (
        False
    )
    shutdown_grace_seconds: Annotated[float, Meta(description="How long running RPCs may take to end at shutdown.")] = (
        10
    )
