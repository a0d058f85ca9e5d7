"""One document with some of everything, as each renderer writes it: what a change of a renderer does is seen here."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from nodeset_provider.join import cloud_init, ignition
from nodeset_provider.join.document import Document, MachineFile, MachineUnit, MachineUser, Part

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = Document(
    hostname="big-x1abc",
    files=(
        MachineFile(path="/etc/kubernetes/bootstrap-kubelet.conf", content=b"users: []\n", mode=0o600),
        MachineFile(path="/etc/motd", content="ein Rechner für alle\n".encode(), mode=0o644),
        MachineFile(path="/usr/local/bin/helper", content=b"#!/bin/sh\n", mode=0o4755),
        MachineFile(path="/home/ops/.netrc", content=b"machine x\n", mode=0o600, owner="ops:ops"),
    ),
    users=(
        MachineUser(name="ops", ssh_authorized_keys=("ssh-ed25519 AAAAC3Nza ops@example.org",), sudo=True),
        MachineUser(name="ro"),
    ),
    units=(
        MachineUnit(
            name="tuning.service",
            content=b"[Service]\nType=oneshot\nExecStart=sysctl --system\n\n[Install]\nWantedBy=multi-user.target\n",
            start=True,
        ),
        MachineUnit(
            name="kubelet.service", drop_ins=(("20-nodeset.conf", b"[Service]\nEnvironment=A=b\n"),), start=True
        ),
    ),
    commands_before=(("sh", "-c", "modprobe br_netfilter"), ("sh", "-c", "echo 'one'\necho \"two\"")),
    commands_after=(("sh", "-c", "touch /run/joined"),),
)
NODE_CONFIG = Part(
    content_type="application/node.eks.aws", content=b"---\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\n"
)


def test_cloud_config() -> None:
    assert cloud_init.render(DOCUMENT) == (GOLDEN / "document.cloud-config.yaml").read_bytes()


def test_multipart() -> None:
    document = Document(hostname="", commands_before=DOCUMENT.commands_before, parts=(NODE_CONFIG,))
    assert cloud_init.render(document) == (GOLDEN / "document.multipart.txt").read_bytes()


def test_ignition() -> None:
    """With what is in the files in plain, so that a person can read it."""
    config: dict[str, Any] = json.loads(ignition.render(DOCUMENT))
    for file in config["storage"]["files"]:
        contents = base64.b64decode(file["contents"]["source"].partition(",")[2])
        packed = file["contents"].get("compression") == "gzip"
        file["contents"] = (gzip.decompress(contents) if packed else contents).decode().split("\n")
    assert config == json.loads((GOLDEN / "document.ign.json").read_text(encoding="utf-8"))
