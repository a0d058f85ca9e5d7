"""Who we are and where the API server is, by ``kubernetes.aio``: kubeconfig, exec plug-ins, OIDC, service account.

Only this file knows that library's configuration. It hands out the server, a TLS context and the Authorization header,
which is refreshed as the source of the credential demands: a service account's token is read again every minute, so is
a kubeconfig's ``tokenFile``; an exec plug-in or an identity provider is asked before its credential runs out, and again
after a 401.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import structlog
import yaml
from kubernetes.aio import config as aio_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.kube_config import KubeConfigLoader

from nodeset_provider.kube.clock import Clock
from nodeset_provider.kube.errors import ConfigurationError, Unavailable

log = structlog.get_logger(__name__)

REFRESH_PERIOD = 60.0
"""Seconds between two looks at the source of a credential that can change (client-go's for token files)."""
FORCED_REFRESH_PERIOD = 10.0
"""Seconds between two refreshes because of a 401: a wrong credential must not become a storm of exec calls."""
_LOAD_ERRORS = (
    aio_config.ConfigException,
    yaml.YAMLError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
)
"""What the library lets through of a kubeconfig that is not as it should be."""


class Credentials:
    """Made by :meth:`load`.

    ``server`` is the URL without a trailing slash; ``ca_bundle`` is PEM, empty where the configuration names no CA and
    the system's certificates are used.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        clock: Clock,
        reload: Callable[[Configuration], Awaitable[None]] | None = None,
    ) -> None:
        self._configuration = configuration
        self._reload = reload
        self._clock = clock
        self._lock = asyncio.Lock()
        self._refreshed = clock.monotonic()
        self._forced = -FORCED_REFRESH_PERIOD
        self.server: str = str(configuration.host).rstrip("/")
        if urlsplit(self.server).scheme not in {"http", "https"}:
            raise ConfigurationError(f"the server's URL must begin with https:// or http://, not {self.server!r}")
        try:
            self.ca_bundle = Path(configuration.ssl_ca_cert).read_bytes() if configuration.ssl_ca_cert else b""
            # The library builds the TLS context from CA, client certificate and verification flags. Strict X.509
            # checks (Python's default since 3.13) refuse cluster CAs that Go accepts, so they stay off as in client-go.
            configuration.disable_strict_ssl_verification = True
            self.tls: ssl.SSLContext = ApiClient(configuration).rest_client.ssl_context
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"certificates of {self.server}: {error}") from error
        self.tls_server_name: str | None = configuration.tls_server_name or None
        self.proxy: str | None = configuration.proxy or _proxy_from_environment(self.server)

    @classmethod
    async def load(cls, *, kubeconfig: str | None, context: str | None, clock: Clock) -> Credentials:
        """By kubeconfig (the argument, $KUBECONFIG, ~/.kube/config) or else as a Pod's service account.

        Raises ConfigurationError, which says what was looked at.
        """
        paths = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        found = _existing(paths)
        if not found and kubeconfig:
            raise ConfigurationError(f"kubeconfig {kubeconfig}: no such file")
        configuration = Configuration()
        if not found:
            try:
                aio_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            except aio_config.ConfigException as error:
                raise ConfigurationError(
                    f"no cluster to talk to: there is no kubeconfig at {paths} (set --kubeconfig or KUBECONFIG), "
                    f"and this is not a Pod with a service account: {error}"
                ) from error
            return cls(configuration, clock=clock)

        async def load_kubeconfig(target: Configuration) -> KubeConfigLoader:
            loaded: KubeConfigLoader = await aio_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=os.pathsep.join(found), context=context, client_configuration=target, persist_config=False
            )
            return loaded

        try:
            loader = await load_kubeconfig(configuration)
        except _LOAD_ERRORS as error:
            where = f", context {context}" if context else ""
            raise ConfigurationError(f"kubeconfig {os.pathsep.join(found)}{where}: {error}") from error
        if _has_plugin(loader) and not configuration.api_key and not configuration.cert_file:
            # The library only logs what went wrong, and we would go on as nobody.
            raise ConfigurationError(
                f"kubeconfig {os.pathsep.join(found)}: its exec plug-in gave no credential (see log)"
            )
        return cls(configuration, clock=clock, reload=_refresher(loader, load_kubeconfig))

    async def authorization(self) -> str | None:
        """The value of the Authorization header, None where the client certificate says who we are.

        Raises Unavailable where the credential's source fails; the request was not sent then.
        """
        if self._reload is not None and self._clock.monotonic() - self._refreshed >= REFRESH_PERIOD:
            await self._refresh()
        try:
            settings = await self._configuration.auth_settings()
        except _LOAD_ERRORS as error:
            raise Unavailable(0, "NoCredential", f"the service account's token cannot be read: {error}") from error
        token = settings.get("BearerToken")
        return str(token["value"]).strip() if token else None

    async def renew(self) -> bool:
        """Ask the source anew after a 401. False where that cannot help or was tried a moment ago."""
        now = self._clock.monotonic()
        if self._reload is None or now - self._forced < FORCED_REFRESH_PERIOD:
            return False
        self._forced = now
        before = await self.authorization()
        await self._refresh()
        return await self.authorization() != before

    async def _refresh(self) -> None:
        started = self._clock.monotonic()
        async with self._lock:
            if self._refreshed > started or self._reload is None:
                return  # somebody else did while we waited
            self._refreshed = self._clock.monotonic()
            certificate = self._configuration.cert_file
            try:
                await self._reload(self._configuration)
            except _LOAD_ERRORS as error:
                log.warning("the credential could not be renewed and stays as it is", error=str(error))
                return
            if self._configuration.cert_file and self._configuration.cert_file != certificate:
                # New connections present the new certificate; those that are open stay what they were.
                self.tls.load_cert_chain(self._configuration.cert_file, self._configuration.key_file)


def _refresher(
    loader: KubeConfigLoader, load: Callable[[Configuration], Awaitable[KubeConfigLoader]]
) -> Callable[[Configuration], Awaitable[None]] | None:
    """How the credential of that kubeconfig is refreshed; None where it never changes."""
    user = loader._user  # noqa: SLF001 - the library's own refresh_token() reads it too; there is no public accessor
    if user is None:
        return None
    if _has_plugin(loader):

        async def run_plugin(configuration: Configuration) -> None:
            # It runs the plug-in only when the credential is about to run out.
            await loader.load_from_exec_plugin()  # type: ignore[no-untyped-call]
            loader._set_config(configuration)  # type: ignore[no-untyped-call]  # noqa: SLF001 - as above

        return run_plugin
    if "tokenFile" in user or "auth-provider" in user:

        async def read_again(configuration: Configuration) -> None:
            await load(configuration)

        return read_again
    return None


def _has_plugin(loader: KubeConfigLoader) -> bool:
    user = loader._user  # noqa: SLF001 - as above
    return user is not None and "exec" in user


def _existing(paths: str) -> list[str]:
    """Those of the colon-separated files that exist, as kubectl takes them."""
    expanded = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
    return [str(path) for path in expanded if path.is_file()]


def _proxy_from_environment(server: str) -> str | None:
    """HTTPS_PROXY, HTTP_PROXY and NO_PROXY, looked at once instead of with every request."""
    url = urlsplit(server)
    if not url.hostname or proxy_bypass(url.hostname):
        return None
    return getproxies().get(url.scheme)
