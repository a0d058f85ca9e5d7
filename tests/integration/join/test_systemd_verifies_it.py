"""systemd finds nothing wrong with the unit that Ignition's machines run their commands by."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nodeset_provider.join.document import Document, unit_files
from nodeset_provider.join.first_boot import UNIT, with_first_boot

SYSTEMD_ANALYZE = shutil.which("systemd-analyze") or ""


@pytest.mark.skipif(not SYSTEMD_ANALYZE, reason="systemd-analyze is not installed (it comes with systemd)")
def test_unit_of_the_first_boot_is_one_for_systemd(tmp_path: Path) -> None:
    document = with_first_boot(Document(hostname="", commands_before=(("true",),)))
    path = tmp_path / UNIT
    path.write_bytes(next(file.content for file in unit_files(document.units)))
    done = subprocess.run([SYSTEMD_ANALYZE, "verify", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    path.write_bytes(path.read_bytes() + b"\n[Service]\nTpye=oneshot\n")
    wrong = subprocess.run([SYSTEMD_ANALYZE, "verify", str(path)], capture_output=True, text=True, check=False)
    assert "Tpye" in wrong.stderr, "it would say so"
