"""The machine's way out: environment for services (systemd drop-ins) and for the class's commands, from one file.

A login in a proxy's URL is refused: it would stand in the class, in every Machine, in the user-data and in a file that
each process on the machine reads.

Every program has its own idea of the case of these variables (curl reads http_proxy only), so both are there. What is
never asked of a proxy: the machine itself, the API server, and names and addresses inside the cluster. Networks of pods
and services are the class's to name; nobody here knows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from nodeset_provider.api.nodeclass import Proxy
from nodeset_provider.join.document import Command, MachineFile
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.paths import FOLDER
from nodeset_provider.join.request import JoinRequest

ENVIRONMENT_FILE: Final = f"{FOLDER}/proxy.env"

_FIELD: Final = "spec.join.proxy"
_PLAIN: Final = re.compile(r"[A-Za-z0-9.:/%_~+=&?*,\[\]-]+")
"""Read alike by systemd's EnvironmentFile and by a shell, within single quotes."""
_ALWAYS_DIRECT: Final = ("localhost", "127.0.0.1", "::1", ".svc")


def proxy_environment(request: JoinRequest, *, direct: Iterable[str] = ()) -> dict[str, str]:
    """The variables, empty where the class names no proxy. ``direct``: what the mode reaches without one.

    Raises InvalidJoin with the field for what is no URL of a proxy, or no host.
    """
    proxy = request.template.join.proxy
    urls = {"HTTP_PROXY": _url("http", proxy.http), "HTTPS_PROXY": _url("https", proxy.https)}
    variables = {name: url for name, url in urls.items() if url}
    if not variables:
        return {}
    host = urlsplit(request.endpoint).hostname or ""
    inside = (*_ALWAYS_DIRECT, f".{request.cluster.domain}", host, *request.cluster.dns, *direct)
    variables["NO_PROXY"] = ",".join(dict.fromkeys((*inside, *_hosts(proxy))))
    return variables | {name.lower(): value for name, value in variables.items()}


def environment_files(environment: dict[str, str]) -> tuple[MachineFile, ...]:
    """The file that services and commands read, none where there is no proxy."""
    if not environment:
        return ()
    lines = "".join(f"{name}='{value}'\n" for name, value in environment.items())
    return (MachineFile(path=ENVIRONMENT_FILE, content=lines.encode(), mode=0o644),)


def service_drop_in(environment: dict[str, str]) -> bytes:
    """The lines for a [Service] section, empty where there is no proxy."""
    return f"EnvironmentFile={ENVIRONMENT_FILE}\n".encode() if environment else b""


def with_environment(environment: dict[str, str], command: Command) -> Command:
    """The command, run with the proxy's variables."""
    if not environment:
        return command
    return ("sh", "-ac", f'. {ENVIRONMENT_FILE}; exec "$@"', "sh", *command)


def _url(name: str, url: str) -> str:
    if not url:
        return ""
    if "@" in url:
        raise InvalidJoin(
            f"{_FIELD}.{name}",
            "holds a login, which everybody who reads NodeClasses would see; let the proxy know machines by address",
        )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not _PLAIN.fullmatch(url):
        raise InvalidJoin(f"{_FIELD}.{name}", "is no URL of a proxy; write http://host:port")
    return url


def _hosts(proxy: Proxy) -> list[str]:
    for index, host in enumerate(proxy.no_proxy):
        if not _PLAIN.fullmatch(host) or "," in host:
            raise InvalidJoin(
                f"{_FIELD}.noProxy[{index}]", f"{host!r} is no host, domain or network; one for each entry"
            )
    return proxy.no_proxy
