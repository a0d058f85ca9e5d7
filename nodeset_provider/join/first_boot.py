"""What happens at a first boot where the first-boot program itself runs nothing: one unit and its script.

The unit does, in the order of the document and as cloud-init's runcmd would: the commands before, the start of the
units without waiting for them, the commands after. Until the commands before are through, units that are to be started
are held back by a condition on a file, at every boot. A condition and no ordering (``Before=``): a command that itself
starts such a unit would wait for a unit that waits for the command, for ever.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from nodeset_provider.join.document import Document, MachineFile, MachineUnit, start_commands

UNIT: Final = "nodeset-first-boot.service"
SCRIPT: Final = "/etc/nodeset-provider/first-boot.sh"
STATE: Final = "/var/lib/nodeset-provider/first-boot"
"""A folder with an empty file for each step that was begun, ``ready`` once the commands before are through, ``started``
once the units were started, ``done`` at the end."""
SPECIAL_BITS: Final = 0o7000
"""setuid, setgid and sticky, which Ignition sets from specification 3.6 on only."""
DROP_IN: Final = "90-nodeset-first-boot.conf"

# KillMode, RemainAfterExit and TasksMax as in cloud-final.service: what a command leaves running in the background may
# go on. The console is where a person looks, and a driver, at a machine that nobody can log in to.
_UNIT_TEXT: Final = f"""\
[Unit]
Description=First boot: what its NodeClass wants done before and after this machine joins
Wants=network-online.target
After=network-online.target
ConditionPathExists=!{STATE}/done

[Service]
Type=oneshot
ExecStart=/bin/sh {SCRIPT}
RemainAfterExit=yes
KillMode=process
TasksMax=infinity
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
"""

# A step is written down before it begins: a command that reboots the machine would otherwise do so for ever. It runs in
# a shell of its own, so that not even a builtin (exit, exec) ends the script.
_SCRIPT_TEXT: Final = f"""\
#!/bin/sh
# Once in the machine's life, each step by itself: one that fails does not keep the next from running. After a reboot it
# goes on with the step after the one that was begun.
state={STATE}
mkdir -p "$state"
step() {{
    if [ -e "$state/$1" ]; then return; fi
    : >"$state/$1"
    (shift; "$@") </dev/null || echo "first boot: $1 failed with $?" >&2
}}
"""


def is_needed(document: Document) -> bool:
    """Whether there is anything that has to be run."""
    return bool(
        document.commands_before
        or document.commands_after
        or any(unit.start for unit in document.units)
        or any(file.mode & SPECIAL_BITS for file in document.files)
    )


def units(document: Document) -> Iterator[MachineUnit]:
    """Our own unit, and the condition of those that it starts."""
    if is_needed(document):
        yield MachineUnit(name=UNIT, content=_UNIT_TEXT.encode())
    gate = f"[Unit]\nConditionPathExists={STATE}/ready\n".encode()
    for unit in document.units:
        if unit.start:
            yield MachineUnit(name=unit.name, drop_ins=((DROP_IN, gate),), enabled=False)


def files(document: Document) -> Iterator[MachineFile]:
    """The script. Only root reads it: a command may hold what only root should know."""
    if is_needed(document):
        yield MachineFile(path=SCRIPT, content=script(document).encode(), mode=0o700)


def script(document: Document) -> str:
    """POSIX sh. Quoted so that each command is run with exactly its words."""
    special = [("chmod", f"{file.mode:04o}", file.path) for file in document.files if file.mode & SPECIAL_BITS]
    lines = [f"step mode-{n} {shlex.join(words)}" for n, words in enumerate(special, 1)]
    lines += [f"step before-{n} {shlex.join(words)}" for n, words in enumerate(document.commands_before, 1)]
    lines += [': >"$state/ready"', 'if [ ! -e "$state/started" ]; then']
    lines += [f"    {shlex.join(words)}" for words in start_commands(document.units)]
    lines += ['    : >"$state/started"', "fi"]
    lines += [f"step after-{n} {shlex.join(words)}" for n, words in enumerate(document.commands_after, 1)]
    lines.append(': >"$state/done"')
    return _SCRIPT_TEXT + "\n".join(lines) + "\n"
