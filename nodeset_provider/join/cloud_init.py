"""Renderer CloudInit: the document as ``#cloud-config`` user-data, within MIME multipart where it has other parts too.

Read by cloud-init's modules write_files, set_hostname, users_groups and runcmd (and write_files_deferred for files
whose owner is a user of the class, who does not exist yet when the others are written).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from email.encoders import encode_base64
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.policy import compat32
from hashlib import sha256
from typing import Any, Final

from nodeset_provider.join.compression import gzipped_if_worth
from nodeset_provider.join.document import Document, MachineFile, MachineUser, Part, start_commands, unit_files
from nodeset_provider.join.yaml_text import yaml_text

HEADER: Final = b"#cloud-config\n"
"""The first line decides how cloud-init reads the rest: no content below can make it a template or a script."""

CONTENT_TYPE: Final = "text/cloud-config"

_TEXT: Final = re.compile(rb"[\x20-\x7e\t\n]*")
"""What is written as text. Everything else (control characters, NUL, non-ASCII) goes as base64, which every version of
cloud-init and of YAML brings back byte for byte."""


def render(document: Document) -> bytes:
    """The user-data. Deterministic."""
    cloud_config = _cloud_config(document)
    if not document.parts:
        return cloud_config
    return _multipart([Part(content_type=CONTENT_TYPE, content=cloud_config), *document.parts])


def _cloud_config(document: Document) -> bytes:
    users = frozenset(user.name for user in document.users)
    config: dict[str, Any] = {}
    if document.hostname:
        config["hostname"] = document.hostname
        config["preserve_hostname"] = False
    files = [*unit_files(document.units), *document.files]
    if files:
        config["write_files"] = [_file(file, users) for file in files]
    if document.users:
        config["users"] = ["default", *(_user(user) for user in document.users)]
    commands = [*document.commands_before, *start_commands(document.units), *document.commands_after]
    if commands:
        config["runcmd"] = [list(command) for command in commands]
    return HEADER + yaml_text(config)


def _file(file: MachineFile, users: frozenset[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": file.path, "permissions": f"{file.mode:04o}", "owner": file.owner}
    if not users.isdisjoint(file.owner.split(":")):
        entry["defer"] = True
    encoded = base64.b64encode(file.content)
    is_text = _TEXT.fullmatch(file.content) is not None
    packed = gzipped_if_worth(file.content, plain=len(file.content if is_text else encoded))
    if packed is not None:
        entry |= {"encoding": "gz+b64", "content": base64.b64encode(packed).decode("ascii")}
    elif is_text:
        entry["content"] = file.content.decode("ascii")
    else:
        entry |= {"encoding": "b64", "content": encoded.decode("ascii")}
    return entry


def _user(user: MachineUser) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": user.name, "shell": "/bin/bash", "lock_passwd": True}
    # Its own group by name, made only where it is missing: useradd left alone refuses a user whose name a group has
    # already (Debian: operator), and then no user of the class is made. groups too, as cloud-init makes only those.
    entry |= {"primary_group": user.name, "groups": [user.name]}
    if user.ssh_authorized_keys:
        entry["ssh_authorized_keys"] = list(user.ssh_authorized_keys)
    if user.sudo:
        entry["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    return entry


def _multipart(parts: Sequence[Part]) -> bytes:
    """MIME as cloud-init's and Go's readers take it; the boundary is a hash of the parts, so it is in none of them."""
    digest = sha256()
    for part in parts:
        digest.update(f"{part.content_type}:{len(part.content)}:".encode() + part.content)
    message = MIMEMultipart(boundary=f"nodeset-{digest.hexdigest()[:32]}")
    for part in parts:
        message.attach(_part(part))
    # A line that begins with "From " would get a ">" in front otherwise, as in mailboxes.
    return message.as_bytes(policy=compat32.clone(mangle_from_=False))


def _part(part: Part) -> Message:
    message = MIMENonMultipart(*part.content_type.split("/", 1))
    if part.content_type == CONTENT_TYPE:
        message.set_param("charset", "us-ascii")  # what cloud-init decodes by
    if _TEXT.fullmatch(part.content):
        message.set_payload(part.content.decode("ascii"))
    else:
        message.set_payload(part.content)
        encode_base64(message)
    return message
