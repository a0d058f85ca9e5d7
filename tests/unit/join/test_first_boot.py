"""The script of the first boot, run by a real shell: what is run, in which order, once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from testbed.hostile import HOSTILE

from nodeset_provider.join.document import Command, Document, MachineUnit
from nodeset_provider.join.first_boot import SCRIPT, STATE, with_first_boot

KUBELET = MachineUnit(name="kubelet.service", start=True)


def script_of(document: Document) -> str:
    return next(file.content for file in with_first_boot(document).files if file.path == SCRIPT).decode()


class Machine:
    """A folder that stands for a machine: its state, and a systemctl that writes down what it is asked."""

    def __init__(self, root: Path, *, before: tuple[Command, ...] = (), after: tuple[Command, ...] = ()) -> None:
        self.state = root / "state"
        self.log = root / "log"
        self._root = root
        systemctl = root / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "systemctl $@" >>{self.log}\n')
        systemctl.chmod(0o755)
        script = script_of(Document(hostname="", units=(KUBELET,), commands_before=before, commands_after=after))
        assert STATE in script
        (root / "first-boot.sh").write_text(script.replace(STATE, str(self.state)))

    def boot(self) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            ["/bin/sh", "-c", 'echo $$ >"$SCRIPT_PID"; exec /bin/sh "$SCRIPT"'],
            env={
                "PATH": f"{self._root}{os.pathsep}{os.environ['PATH']}",
                "LOG": str(self.log),
                "SCRIPT": str(self._root / "first-boot.sh"),
                "SCRIPT_PID": str(self._root / "pid"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def lines(self) -> list[str]:
        """What was run, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def shell(*commands: str) -> tuple[Command, ...]:
    return tuple(("sh", "-c", command) for command in commands)


START = ["systemctl daemon-reload", "systemctl enable kubelet.service", "systemctl restart --no-block kubelet.service"]


def test_commands_run_in_order_around_the_start_of_the_units(tmp_path: Path) -> None:
    machine = Machine(
        tmp_path,
        before=shell('echo 1 >>"$LOG"', 'echo 2 >>"$LOG"'),
        after=shell('echo 3 >>"$LOG"', 'echo 4 >>"$LOG"'),
    )
    assert machine.boot().returncode == 0
    assert machine.lines() == ["1", "2", *START, "3", "4"]


def test_another_boot_repeats_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, before=shell('echo 1 >>"$LOG"'), after=shell('echo 2 >>"$LOG"'))
    machine.boot()
    first = machine.lines()
    machine.boot()
    assert machine.lines() == first
    assert (machine.state / "done").exists(), "the unit is not even begun again"


def test_reboot_in_the_middle_goes_on_with_the_step_after_the_one_that_was_begun(tmp_path: Path) -> None:
    """A command that reboots the machine does so once. Here it kills the script, as a reboot would."""
    reboot = 'echo 2 >>"$LOG"; kill -9 "$(cat "$SCRIPT_PID")"'
    machine = Machine(tmp_path, before=shell('echo 1 >>"$LOG"', reboot, 'echo 3 >>"$LOG"'))
    assert machine.boot().returncode != 0
    assert machine.lines() == ["1", "2"]
    assert machine.boot().returncode == 0
    assert machine.lines() == ["1", "2", "3", *START]


@pytest.mark.parametrize(
    "command",
    [
        ("sh", "-c", "exit 1"),
        ("sh", "-c", "echo 'open"),
        ("sh", "-c", "cat <<EOF"),
        ("sh", "-c", "set -e; false"),
        ("sh", "-c", "exec true"),
        ("sh", "-c", "kill $$"),
        ("sh", "-c", "}"),
        ("sh", "-c", "#"),
        ("exit", "3"),
        ("exec", "true"),
        ("no-such-program-anywhere",),
        ("cat",),
    ],
)
@pytest.mark.parametrize("phase", ["before", "after"])
def test_command_that_goes_wrong_does_not_keep_the_next_from_running(
    tmp_path: Path, command: Command, phase: str
) -> None:
    machine = Machine(tmp_path, **{phase: (command, *shell('echo next >>"$LOG"'))})
    assert machine.boot().returncode == 0
    expected = ["next", *START] if phase == "before" else [*START, "next"]
    assert machine.lines() == expected


def test_failure_is_said_with_its_number_and_not_with_the_command(tmp_path: Path) -> None:
    machine = Machine(tmp_path, before=shell("true", "exit 7 # password"))
    said = machine.boot().stderr
    assert said == "first boot: before-2 failed with 7\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=4))
@example(list(HOSTILE))
@settings(max_examples=25, deadline=None)
def test_any_words_reach_the_program_as_they_are(words: list[str]) -> None:
    line = script_of(Document(hostname="", commands_before=(("printf", "%s\\0", *words),)))
    call = line[line.index("step before-1") : line.index('if [ ! -e "$state/started" ]')]
    program = f'step() {{ shift; "$@"; }}\n{call}'
    done = subprocess.run(["/bin/sh", "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == (words or [""])
