from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nodeset_provider.cli import main
from nodeset_provider.config import SETTINGS


def test_help_lists_every_command_without_loading_grpc_or_the_rehearsal() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for command in ("serve", "rehearse", "version"):
        assert command in result.output


def test_help_of_serve_names_every_flag_and_variable() -> None:
    result = CliRunner().invoke(main, ["serve", "--help"], terminal_width=400)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for setting in SETTINGS.values():
        assert setting.flag in text
        assert f"[{setting.variable}]" in text.replace(" ", "") or f"[{setting.variable}]" in text


def test_version_names_the_drivers_that_are_installed() -> None:
    result = CliRunner().invoke(main, ["version"])
    assert result.exit_code == 0
    assert result.output.startswith("nodeset-provider ")
    assert "simulated" in result.output


def test_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(main, ["srve"])
    assert result.exit_code == 2
    assert "srve" in result.output


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--grpc-listen", "0.0.0.0:1"], {}, "grpc.listen (flag --grpc-listen): other machines can reach 0.0.0.0:1"),
        ([], {"NODESET_PROVIDER_LOG_LEVEL": "loud"}, "log.level (environment variable NODESET_PROVIDER_LOG_LEVEL)"),
        (["--config", "/nowhere"], {}, "config file /nowhere: cannot be read"),
        ([], {"NODESET_PROVIDER_CONFIG": "/nowhere"}, "config file /nowhere: cannot be read"),
        (["--join-cluster-dns", "10.0.0.10,x"], {}, "join.clusterDNS (flag --join-cluster-dns): 'x' is no IP address"),
    ],
)
def test_wrong_configuration_ends_with_2_and_a_line_for_each_problem(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    result = CliRunner().invoke(main, ["serve", *arguments], env=environment)
    assert result.exit_code == 2
    assert f"error: {message}" in result.output
    assert "Traceback" not in result.output


def test_flag_no_takes_back_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("insecure: true\ngrpc: {listen: '0.0.0.0:1'}\n")
    result = CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "c.yaml"), "--no-insecure"])
    assert result.exit_code == 2
    assert "other machines can reach" in result.output
