from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodeset_provider.config import SETTINGS, ConfigError, Loaded, Settings, check, load


def read(
    *, text: str | None = None, folder: Path | None = None, flags: dict[str, Any] | None = None, **variables: str
) -> Loaded:
    file = None
    if text is not None:
        assert folder is not None
        file = folder / "config.yaml"
        file.write_text(text)
    return load(file=str(file) if file else None, environment=variables, flags=flags or {})


def problems(**arguments: Any) -> str:
    def use() -> None:
        check(read(**arguments))

    with pytest.raises(ConfigError) as caught:
        use()
    return "\n".join(caught.value.problems)


def test_defaults_are_valid() -> None:
    loaded = read()
    check(loaded)
    assert loaded.settings == Settings()
    assert loaded.sources == {}


def test_environment_wins_over_the_file_and_a_flag_over_both(tmp_path: Path) -> None:
    text = "grpc: {listen: '127.0.0.1:1'}\nhttp: {listen: '127.0.0.1:1'}\nlog: {level: debug}\n"
    loaded = read(
        text=text,
        folder=tmp_path,
        flags={"grpc.listen": "127.0.0.1:3"},
        NODESET_PROVIDER_GRPC_LISTEN="127.0.0.1:2",
        NODESET_PROVIDER_HTTP_LISTEN="127.0.0.1:2",
    )
    assert loaded.settings.grpc.listen == "127.0.0.1:3"
    assert loaded.settings.http.listen == "127.0.0.1:2"
    assert loaded.settings.log.level == "debug"
    assert loaded.origin("grpc.listen") == "grpc.listen (flag --grpc-listen)"
    assert loaded.origin("http.listen") == "http.listen (environment variable NODESET_PROVIDER_HTTP_LISTEN)"
    assert loaded.origin("log.level") == f"log.level (file {tmp_path}/config.yaml)"
    assert loaded.origin("gpuLabel") == "gpuLabel (default)"


def test_every_setting_can_be_given_in_each_of_the_three_ways(tmp_path: Path) -> None:
    texts = {str: "text", float: "7", bool: "true"}
    for key, setting in SETTINGS.items():
        value = setting.choices[0] if setting.choices else texts.get(setting.type, "a,b")
        for loaded in (
            load(file=None, environment={setting.variable: value}, flags={}),
            load(file=None, environment={}, flags={key: value}),
        ):
            found: Any = loaded.settings
            for name in setting.path:
                found = getattr(found, name)
            assert found == {"7": 7.0, "true": True, "a,b": ("a", "b")}.get(value, value), key
        nested = "\n".join("  " * depth + f"{part}:" for depth, part in enumerate(key.split(".")))
        assert read(text=f"{nested} {'[a, b]' if value == 'a,b' else value}\n", folder=tmp_path).sources.keys() == {key}


def test_file_is_named_by_the_environment_too(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("gpuLabel: a/b\n")
    assert read(NODESET_PROVIDER_CONFIG=str(tmp_path / "c")).settings.gpu_label == "a/b"


def test_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert read(text="# nothing\n", folder=tmp_path).settings == Settings()
    assert read(text="{}\n", folder=tmp_path).settings == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grpc: {listn: x}", r"grpc.listn (file {file}): no such setting; did you mean grpc.listen?"),
        ("wholly: different", "wholly (file {file}): no such setting; `nodeset-provider serve --help` lists all"),
        ("grpc: 127.0.0.1:80", "grpc (file {file}): no such setting"),
        ("gpuLabel: {a: b}", "gpuLabel (file {file}): {{'a': 'b'}} is not text"),
        ("gpuLabel: 7", "gpuLabel (file {file}): 7 is not text"),
        ("insecure: 'yes'", "insecure (file {file}): 'yes' is not true or false"),
        ("drivers: simulated", "drivers (file {file}): 'simulated' is not a list of texts"),
        ("shutdownGraceSeconds: ten", "shutdownGraceSeconds (file {file}): 'ten' is not a number"),
        ("log: {level: loud}", "log.level (file {file}): 'loud' is not one of debug, error, info, warning"),
        ("log:\n  level:\n", "log.level (file {file}): None is not one of"),
        ("- a\n", "config file {file}: must be a mapping of settings"),
        ("a: [\n", "config file {file}, line 2: "),
        (
            "insecure: true\ninsecure: false\n",
            "config file {file}, line 2: the key insecure is given twice; remove one",
        ),
        ("7: x", "7 (file {file}): no such setting"),
    ],
)
def test_what_is_wrong_in_the_file_names_key_file_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    assert message.format(file=tmp_path / "config.yaml") in problems(text=text, folder=tmp_path)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config file /nowhere/c: cannot be read: No such file .*--config"):
        load(file="/nowhere/c", environment={}, flags={})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(file=str(tmp_path / "binary"), environment={}, flags={})


def test_broken_file_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    assert "hunter2" not in problems(text="password: 'hunter2\nx: [", folder=tmp_path)


def test_unknown_variable_of_ours_is_refused_with_the_one_that_was_meant() -> None:
    message = problems(NODESET_PROVIDER_GRPC_LISTN="x")
    assert message == (
        "environment variable NODESET_PROVIDER_GRPC_LISTN: no such setting; did you mean NODESET_PROVIDER_GRPC_LISTEN?"
    )


def test_variables_that_kubernetes_adds_for_services_are_not_ours() -> None:
    loaded = read(
        NODESET_PROVIDER_SERVICE_HOST="10.0.0.1",
        NODESET_PROVIDER_SERVICE_PORT="8086",
        NODESET_PROVIDER_SERVICE_PORT_GRPC="8086",
        NODESET_PROVIDER_PORT="tcp://10.0.0.1:8086",
        NODESET_PROVIDER_PORT_8086_TCP_ADDR="10.0.0.1",
        NODESET_PROVIDER_METRICS_SERVICE_HOST="10.0.0.2",
        PATH="/bin",
    )
    assert loaded.sources == {}


def test_bad_value_names_its_variable_or_flag() -> None:
    assert problems(NODESET_PROVIDER_INSECURE="perhaps") == (
        "insecure (environment variable NODESET_PROVIDER_INSECURE): 'perhaps' is not true or false"
    )
    assert problems(flags={"leaderElection.retryPeriodSeconds": "x"}) == (
        "leaderElection.retryPeriodSeconds (flag --leader-election-retry-period-seconds): 'x' is not a number"
    )


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    message = problems(text="a: 1\nb: 2\n", folder=tmp_path, flags={"insecure": "x"})
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize("listen", ["0.0.0.0:8086", ":8086", "[::]:8086", "192.168.1.1:1", "example.org:1"])
def test_plaintext_that_others_can_reach_is_refused_unless_it_is_asked_for(listen: str) -> None:
    message = problems(flags={"grpc.listen": listen})
    assert "grpc.listen (flag --grpc-listen): other machines can reach" in message
    assert "--insecure" in message
    check(read(flags={"grpc.listen": listen, "insecure": True}))


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:1", "127.9.9.9:0", "[::1]:80", "localhost:80", "unix:/run/x.sock", "unix:///run/x"]
)
def test_plaintext_on_this_machine_only_needs_no_asking(listen: str) -> None:
    check(read(flags={"grpc.listen": listen}))


@pytest.mark.parametrize("listen", ["", "8086", "a:b", "a:70000", "::1:80", "unix:relative", "a:-1", "a:\u0661"])
def test_address_that_is_none_is_refused(listen: str) -> None:
    assert "grpc.listen (flag --grpc-listen): " in problems(flags={"grpc.listen": listen})


def test_mutual_tls_needs_all_three_files(tmp_path: Path) -> None:
    (tmp_path / "c").touch()
    assert "set grpc.keyFile and grpc.clientCAFile too, or none" in problems(
        flags={"grpc.certFile": str(tmp_path / "c")}
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"join.caFile": "/nowhere"}, "join.caFile (flag --join-ca-file): /nowhere: No such file"),
        ({"join.endpoint": "http://a"}, "join.endpoint (flag --join-endpoint): 'http://a' is no https URL"),
        ({"join.clusterDNS": "dns.local"}, "join.clusterDNS (flag --join-cluster-dns): 'dns.local' is no IP address"),
        ({"http.listen": "unix:/x"}, "http.listen (flag --http-listen): probes cannot use a UNIX socket"),
        (
            {"leaderElection.leaseDurationSeconds": "10"},
            "leaseDurationSeconds (flag --leader-election-lease-duration-seconds)",
        ),
        ({"leaderElection.renewDeadlineSeconds": "2"}, "renewDeadlineSeconds"),
        ({"leaderElection.retryPeriodSeconds": "nan"}, "retryPeriodSeconds"),
        ({"leaderElection.leaseName": ""}, "leaseName"),
        ({"shutdownGraceSeconds": "-1"}, "shutdownGraceSeconds (flag --shutdown-grace-seconds): -1 must be 0 or more"),
        ({"gpuLabel": ""}, "gpuLabel"),
    ],
)
def test_values_that_cannot_work_are_refused_with_key_and_source(flags: dict[str, str], message: str) -> None:
    assert message in problems(flags=flags)
