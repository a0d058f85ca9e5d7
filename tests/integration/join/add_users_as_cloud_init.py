"""Run by the Python that cloud-init is installed in: makes the users of user-data in a root folder of their own.

``python3 add_users_as_cloud_init.py USER_DATA_FILE ROOT``. What useradd and groupadd do, they do below ROOT.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from cloudinit import distros, helpers, util
from cloudinit.distros import ug_util


def main() -> None:
    config = util.load_yaml(Path(sys.argv[1]).read_text(encoding="ascii"))
    root = Path(sys.argv[2])
    util.system_is_snappy = lambda: False
    util.is_user, util.is_group = partial(is_named, root / "etc/passwd"), partial(is_named, root / "etc/group")
    distros.subp.subp = partial(below, root)
    distro = distros.fetch("debian")("debian", {}, helpers.Paths({}))
    users, _ = ug_util.normalize_users_groups(config, distro)
    for name, settings in users.items():
        if not settings.pop("default", False):
            distro.add_user(name, **settings)


def below(root: Path, command: "list[str]", *_: object, **__: object) -> None:
    subprocess.run([command[0], "--prefix", str(root), *command[1:]], check=True)


def is_named(file: Path, name: str) -> bool:
    return any(line.split(":")[0] == name for line in file.read_text(encoding="ascii").splitlines())


main()
