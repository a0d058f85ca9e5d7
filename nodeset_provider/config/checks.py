"""What must hold between settings, and for the files that they name."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from nodeset_provider.config.address import Address, parse_address
from nodeset_provider.config.errors import ConfigError
from nodeset_provider.config.sources import Loaded

_JITTER = 1.2
"""client-go's: a retry may come this much later."""


def check(loaded: Loaded) -> None:
    """Raises ConfigError with every problem, each naming the key, where its value came from, and the remedy."""
    problems = [
        problem for part in (_transport, _http, _leader_election, _join, _files, _rest) for problem in part(loaded)
    ]
    if problems:
        raise ConfigError(problems)


def _address(loaded: Loaded, key: str, text: str, report: Callable[[str], None]) -> Address | None:
    try:
        return parse_address(text)
    except ValueError as error:
        report(f"{loaded.origin(key)}: {text!r} is no address; {error}")
        return None


def _transport(loaded: Loaded) -> Iterator[str]:
    grpc, problems = loaded.settings.grpc, list[str]()
    address = _address(loaded, "grpc.listen", grpc.listen, problems.append)
    yield from problems
    files = {"grpc.certFile": grpc.cert_file, "grpc.keyFile": grpc.key_file, "grpc.clientCAFile": grpc.client_ca_file}
    missing = [key for key, path in files.items() if not path]
    given = [key for key, path in files.items() if path]
    if given and missing:
        yield (
            f"{loaded.origin(given[0])}: mutual TLS needs grpc.certFile, grpc.keyFile and grpc.clientCAFile; "
            f"set {' and '.join(missing)} too, or none of them"
        )
    if address and not given and not address.is_local and not loaded.settings.insecure:
        yield (
            f"{loaded.origin('grpc.listen')}: other machines can reach {address} and there are no certificates; set "
            "grpc.certFile, grpc.keyFile and grpc.clientCAFile, or listen on 127.0.0.1 or unix:/path, or say "
            "--insecure to serve in plaintext"
        )


def _http(loaded: Loaded) -> Iterator[str]:
    listen, problems = loaded.settings.http.listen, list[str]()
    if listen:
        address = _address(loaded, "http.listen", listen, problems.append)
        yield from problems
        if address and address.path:
            yield f"{loaded.origin('http.listen')}: probes cannot use a UNIX socket; write host:port"


def _leader_election(loaded: Loaded) -> Iterator[str]:
    election = loaded.settings.leader_election
    lease, renew, retry = (
        election.lease_duration_seconds,
        election.renew_deadline_seconds,
        election.retry_period_seconds,
    )
    if not retry > 0:
        yield f"{loaded.origin('leaderElection.retryPeriodSeconds')}: {retry:g} is not more than 0"
    if not renew > retry * _JITTER:
        yield (
            f"{loaded.origin('leaderElection.renewDeadlineSeconds')}: {renew:g} must be more than {_JITTER} times "
            f"leaderElection.retryPeriodSeconds ({retry:g})"
        )
    if not lease > renew:
        yield (
            f"{loaded.origin('leaderElection.leaseDurationSeconds')}: {lease:g} must be more than "
            f"leaderElection.renewDeadlineSeconds ({renew:g})"
        )
    if not election.lease_name:
        yield f"{loaded.origin('leaderElection.leaseName')}: must not be empty"


def _join(loaded: Loaded) -> Iterator[str]:
    join = loaded.settings.join
    if join.endpoint:
        parts = urlsplit(join.endpoint)
        if parts.scheme != "https" or not parts.hostname:
            yield f"{loaded.origin('join.endpoint')}: {join.endpoint!r} is no https URL; write https://host:port"
    for text in join.cluster_dns:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            yield f"{loaded.origin('join.clusterDNS')}: {text!r} is no IP address"


def _files(loaded: Loaded) -> Iterator[str]:
    settings = loaded.settings
    for key, path in {
        "grpc.certFile": settings.grpc.cert_file,
        "grpc.keyFile": settings.grpc.key_file,
        "grpc.clientCAFile": settings.grpc.client_ca_file,
        "join.caFile": settings.join.ca_file,
    }.items():
        if path:
            try:
                with Path(path).open("rb"):
                    pass
            except OSError as error:
                yield f"{loaded.origin(key)}: {path}: {error.strerror}; name a file that the provider can read"


def _rest(loaded: Loaded) -> Iterator[str]:
    settings = loaded.settings
    if not settings.gpu_label:
        yield f"{loaded.origin('gpuLabel')}: must not be empty"
    if not settings.shutdown_grace_seconds >= 0:
        yield f"{loaded.origin('shutdownGraceSeconds')}: {settings.shutdown_grace_seconds:g} must be 0 or more"
