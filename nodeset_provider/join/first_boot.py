"""What happens at a first boot where the first-boot program itself runs nothing: one unit and its script.

The script does what cloud-init's runcmd does, in the order of the document: the commands before, enabling and starting
the units without waiting for them, the commands after. Units are not enabled by the first-boot program, which would
start them before the commands; nor ordered after our unit: a command that itself starts one of them would then wait for
a unit that waits for the command, for ever.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from nodeset_provider.join.document import Command, Document, MachineFile, MachineUnit, start_commands
from nodeset_provider.join.paths import FOLDER

UNIT: Final = "nodeset-first-boot.service"
SCRIPT: Final = f"{FOLDER}/first-boot.sh"
STATE: Final = "/var/lib/nodeset/first-boot"
"""A folder with an empty file for each step that was begun, ``started`` once the units were started, ``done`` at the
end."""
SPECIAL_BITS: Final = 0o7000
"""setuid, setgid and sticky, which Ignition sets from specification 3.6 on only."""

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


def with_first_boot(document: Document) -> Document:
    """The document with our unit and its script in place of all that has to be run."""
    special = [("chmod", f"{file.mode:04o}", file.path) for file in document.files if file.mode & SPECIAL_BITS]
    if not (special or document.units or document.commands_before or document.commands_after):
        return document
    lines = [
        *_steps("mode", special),
        *_steps("before", document.commands_before),
        'if [ ! -e "$state/started" ]; then',
        *(f"    {shlex.join(words)}" for words in start_commands(document.units)),
        '    : >"$state/started"',
        "fi",
        *_steps("after", document.commands_after),
        ': >"$state/done"',
    ]
    text = _SCRIPT_TEXT + "".join(f"{line}\n" for line in lines)
    # Only root reads it: a command may hold what only root should know.
    script = MachineFile(path=SCRIPT, content=text.encode(), mode=0o700)
    unit = MachineUnit(name=UNIT, content=_UNIT_TEXT.encode())
    return replace(
        document,
        files=(script, *(replace(file, mode=file.mode & ~SPECIAL_BITS) for file in document.files)),
        units=(unit, *document.units),
        commands_before=(),
        commands_after=(),
    )


def _steps(phase: str, commands: Iterable[Command]) -> Iterator[str]:
    """POSIX sh, quoted so that each command is run with exactly its words."""
    for number, words in enumerate(commands, 1):
        yield f"step {phase}-{number} {shlex.join(words)}"
