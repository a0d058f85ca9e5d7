"""What identifies this cluster to clouds, and the key that bootstrap tokens are derived from.

May touch: the namespace kube-system (read), one Secret in the provider's own namespace.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable

import structlog

from nodeset_provider.join.bootstrap_token import KEY_BYTES, KEY_SECRET_ENTRY, KEY_SECRET_NAME
from nodeset_provider.kube.client import Client
from nodeset_provider.kube.errors import AlreadyExists, NotFound
from nodeset_provider.kube.resources import NAMESPACES, SECRETS

_log = structlog.get_logger(__name__)


class UnusableBootstrapKey(Exception):
    """The key's Secret is there and holds no key; the message says what to do. Never holds a value."""


async def cluster_uid(client: Client) -> str:
    """The UID of kube-system: as old as the cluster, and never the same in two of them."""
    return (await client.get(NAMESPACES, "kube-system")).metadata.uid


async def bootstrap_key(
    client: Client, namespace: str, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> bytes:
    """The key, made on the first start. Two processes that start at once end up with the same one.

    Raises UnusableBootstrapKey, ApiError.
    """
    resource = SECRETS.within(namespace)
    try:
        secret = await client.get(resource, KEY_SECRET_NAME)
    except NotFound:
        body = {
            "metadata": {"name": KEY_SECRET_NAME, "namespace": namespace},
            "data": {KEY_SECRET_ENTRY: base64.b64encode(random_bytes(KEY_BYTES)).decode()},
        }
        try:
            secret = await client.create(resource, body)
            _log.info("bootstrap key made", secret=f"{namespace}/{KEY_SECRET_NAME}")
        except AlreadyExists:
            secret = await client.get(resource, KEY_SECRET_NAME)
    key = secret.data.get(KEY_SECRET_ENTRY, b"")
    if len(key) < KEY_BYTES:
        raise UnusableBootstrapKey(
            f"Secret {namespace}/{KEY_SECRET_NAME}: data[{KEY_SECRET_ENTRY!r}] has {len(key)} bytes, at least "
            f"{KEY_BYTES} are needed; delete the Secret, a new one is made at the next start"
        )
    return key
