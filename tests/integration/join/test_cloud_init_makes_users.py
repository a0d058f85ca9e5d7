"""cloud-init and useradd make the class's users, also one who is called as a group is already (Debian: operator)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nodeset_provider.join.cloud_init import render
from nodeset_provider.join.document import Document, MachineUser

CLOUD_INIT = shutil.which("cloud-init") or ""
USERADD = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""
MAKER = Path(__file__).parent / "add_users_as_cloud_init.py"


@pytest.mark.skipif(not CLOUD_INIT, reason="cloud-init is not installed; tools/install-cloud-init.sh installs it")
@pytest.mark.skipif(not USERADD or os.geteuid() != 0, reason="useradd --prefix needs root and the package passwd")
def test_user_named_as_a_group_is_made_and_is_in_it(tmp_path: Path) -> None:
    etc = tmp_path / "root" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (etc / "group").write_text("root:x:0:\noperator:x:37:\n")
    (etc / "shadow").write_text("root:*:1::::::\n")
    (etc / "login.defs").write_text("USERGROUPS_ENAB yes\nUID_MIN 1000\nUID_MAX 2000\nGID_MIN 1000\nGID_MAX 2000\n")
    user_data = tmp_path / "user-data"
    users = (MachineUser(name="operator"), MachineUser(name="ops", sudo=True))
    user_data.write_bytes(render(Document(hostname="", users=users)))
    python = Path(CLOUD_INIT).read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("#!").split()[0]
    done = subprocess.run(
        [python, str(MAKER), str(user_data), str(etc.parent)],
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    groups = {line.split(":")[0]: line.split(":")[2] for line in (etc / "group").read_text().splitlines()}
    logins = {line.split(":")[0]: line.split(":")[3] for line in (etc / "passwd").read_text().splitlines()}
    assert (logins["operator"], groups["operator"]) == ("37", "37")
    assert logins["ops"] == groups["ops"] != "37"
