"""The API server over plain HTTP, as the user of a kubeconfig: for tests that ask many small questions.

A kubectl for each would take a process and half a second. May touch: the API server that the kubeconfig names.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

_TYPES = {"PATCH": "application/merge-patch+json"}
_WRITES = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status and the object (or the Status) that came with it."""

    status: int
    body: dict[str, Any]

    @property
    def refused(self) -> str:
        """What a person would read; empty where the request was accepted."""
        if self.status < http.client.MULTIPLE_CHOICES:
            return ""
        message: str = self.body["message"]
        return message


class API:
    """One account. Unknown fields in what it writes are refused, as kubectl does."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        self._host = urlsplit(cluster["server"]).netloc
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        self._headers = {"Accept": "application/json"}
        if "token" in user:
            self._headers["Authorization"] = f"Bearer {user['token']}"
        else:
            # Python loads certificates from files only.
            with tempfile.NamedTemporaryFile() as pair:
                pair.write(base64.b64decode(user["client-certificate-data"]))
                pair.write(base64.b64decode(user["client-key-data"]))
                pair.flush()
                self._tls.load_cert_chain(pair.name)

    def get(self, path: str) -> Answer:
        """Read an object, a list or any other path."""
        return self._request("GET", path)

    def create(self, path: str, body: object, *, dry_run: bool = False) -> Answer:
        """POST to a collection or subresource. ``dry_run`` asks and changes nothing."""
        return self._request("POST", path, body, dry_run=dry_run)

    def patch(self, path: str, body: object, *, dry_run: bool = False) -> Answer:
        """JSON merge patch."""
        return self._request("PATCH", path, body, dry_run=dry_run)

    def replace(self, path: str, body: object, *, dry_run: bool = False) -> Answer:
        """PUT of the whole object."""
        return self._request("PUT", path, body, dry_run=dry_run)

    def delete(self, path: str) -> Answer:
        """Delete an object."""
        return self._request("DELETE", path)

    def _request(self, method: str, path: str, body: object = None, *, dry_run: bool = False) -> Answer:
        query = [*(["fieldValidation=Strict"] if method in _WRITES else []), *(["dryRun=All"] if dry_run else [])]
        connection = http.client.HTTPSConnection(self._host, context=self._tls, timeout=30)
        try:
            connection.request(
                method,
                path + ("?" + "&".join(query) if query else ""),
                body=None if body is None else json.dumps(body),
                headers={**self._headers, "Content-Type": _TYPES.get(method, "application/json")},
            )
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Object:
    """One object that is there, at its path."""

    api: API
    path: str

    @property
    def name(self) -> str:
        """Its metadata.name."""
        return self.path.rpartition("/")[2]

    @property
    def now(self) -> dict[str, Any]:
        """As the API server has it."""
        return self.api.get(self.path).body

    def patch(self, body: object, subresource: str = "") -> Answer:
        """JSON merge patch of it or of its subresource."""
        return self.api.patch(f"{self.path}/{subresource}" if subresource else self.path, body)
