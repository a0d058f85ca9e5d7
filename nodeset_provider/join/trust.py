"""CA certificates of the class, put into the machine's own trust store by whichever tool its distribution has.

Debian, Ubuntu, Alpine, Flatcar and SUSE have update-ca-certificates, Fedora, RHEL and Amazon Linux update-ca-trust;
each reads a folder of its own. So the certificates are written to ours, one a file as update-ca-certificates wants
them, and copied from there: some of those folders are read-only on some systems, and writing a file there would end
the boot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nodeset_provider.join.certificates import pem_blocks, read_certificates
from nodeset_provider.join.document import Command, MachineFile
from nodeset_provider.join.errors import InvalidJoin
from nodeset_provider.join.paths import FOLDER

TRUST_FOLDER: Final = f"{FOLDER}/trust"

_FIELD: Final = "spec.join.caCertificates"
_INSTALL: Final = f"""\
set -e
if command -v update-ca-trust >/dev/null; then
  cp {TRUST_FOLDER}/*.crt /etc/pki/ca-trust/source/anchors/
  update-ca-trust
elif command -v update-ca-certificates >/dev/null; then
  for folder in /usr/local/share/ca-certificates /etc/pki/trust/anchors /etc/ssl/certs; do
    if [ -d "$folder" ] && [ -w "$folder" ]; then break; fi
  done
  for file in {TRUST_FOLDER}/*.crt; do
    name=${{file##*/}}
    if [ "$folder" = /etc/ssl/certs ]; then name=${{name%.crt}}.pem; fi
    cp "$file" "$folder/$name"
  done
  update-ca-certificates
else
  echo "neither update-ca-trust nor update-ca-certificates is here: {TRUST_FOLDER} is not trusted" >&2
  exit 1
fi
"""


def trusted_files(certificates: Sequence[str]) -> tuple[MachineFile, ...]:
    """One file for each certificate in the class's entries. Raises InvalidJoin with the field for what is none."""
    blocks: dict[bytes, None] = {}
    for index, text in enumerate(certificates):
        field = f"{_FIELD}[{index}]"
        bundle = ascii_pem(field, text)
        read_certificates(field, bundle)
        blocks |= dict.fromkeys(pem_blocks(bundle))
    return tuple(
        MachineFile(path=f"{TRUST_FOLDER}/nodeset-{number}.crt", content=block, mode=0o644)
        for number, block in enumerate(blocks)
    )


def trust_commands(certificates: Sequence[str]) -> tuple[Command, ...]:
    """What makes the machine trust them; nothing where there are none."""
    return (("sh", "-c", _INSTALL),) if certificates else ()


def ascii_pem(field: str, text: str) -> bytes:
    """PEM as bytes. Raises InvalidJoin with ``field`` where it holds what no PEM does."""
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidJoin(
            field, "holds characters beyond ASCII, which no PEM does; paste the certificate again"
        ) from None
