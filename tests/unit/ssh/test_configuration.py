"""Config and Secret are read strictly, with errors that name the key and the remedy; no secret is in any of them."""

import re
from pathlib import Path
from typing import Any

import asyncssh
import msgspec
import pytest
import yaml
from nodeset_driver_ssh import create_driver
from nodeset_driver_ssh.config import Config, HostEntry, Timeouts, parse_config
from nodeset_driver_ssh.credentials import parse_credentials

from nodeset_provider.driverkit.contract import InstanceKey
from nodeset_provider.driverkit.errors import InvalidSpec, Transient
from nodeset_provider.driverkit.registry import load_drivers

ROOT = Path(__file__).parents[3]
KEY = asyncssh.generate_private_key("ssh-ed25519")
PRIVATE = KEY.export_private_key()
FINGERPRINT = KEY.get_fingerprint()
HOST = {"address": "10.0.0.1"}


def test_full_config_is_taken() -> None:
    config = parse_config(
        {
            "hosts": [
                {
                    "address": "2001:db8::1",
                    "port": 2222,
                    "user": "admin",
                    "fingerprint": FINGERPRINT,
                    "labels": {"a": "b"},
                    "capacity": {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "1T", "example.com/gpu": "2"},
                },
                {"address": "rack-7.example.com", "name": "rack-7"},
            ],
            "trustOnFirstUse": True,
            "sudo": False,
            "resetCommands": ["rm -rf /data"],
            "timeoutSeconds": {"connect": 5, "step": 60.5},
        }
    )
    assert [host.id for host in config.hosts] == ["[2001:db8::1]:2222", "rack-7"]
    assert config.hosts[1] == HostEntry(address="rack-7.example.com", name="rack-7")
    assert config.timeout_seconds == Timeouts(connect=5, step=60.5)


@pytest.mark.parametrize(
    ("config", "field", "said"),
    [
        ({}, "hosts", "required"),
        ({"hosts": []}, "hosts", "1 to 1000"),
        ({"hosts": [HOST], "sudu": True}, "sudu", "did you mean sudo"),
        ({"hosts": [HOST], "privateKey": "s3cret"}, "privateKey", "Secret that credentialsRef names"),
        ({"hosts": [HOST], "sudo": "yes"}, "sudo", "bool"),
        ({"hosts": [{"adress": "10.0.0.1"}]}, "hosts[0].adress", "did you mean address"),
        ({"hosts": [{}]}, "hosts[0]", "required"),
        ({"hosts": [{"address": "a b"}]}, "hosts[0].address", "neither an IP address nor a DNS name"),
        ({"hosts": [{"address": "fe80::1%eth0"}]}, "hosts[0].address", "neither"),
        ({"hosts": [{"address": "-oProxyCommand=id"}]}, "hosts[0].address", "neither"),
        ({"hosts": [{**HOST, "port": 0}]}, "hosts[0].port", "1 to 65535"),
        ({"hosts": [{**HOST, "port": "22"}]}, "hosts[0].port", "int"),
        ({"hosts": [{**HOST, "user": "a b"}]}, "hosts[0].user", "login name"),
        ({"hosts": [{**HOST, "name": "a/b"}]}, "hosts[0].name", "a-z"),
        ({"hosts": [{**HOST, "fingerprint": "MD5:aa"}]}, "hosts[0].fingerprint", "ssh-keygen -lf"),
        ({"hosts": [{**HOST, "capacity": {"cpu": "0"}}]}, "hosts[0].capacity.cpu", "no quantity above 0"),
        ({"hosts": [{**HOST, "capacity": {"memory": "64 GB"}}]}, "hosts[0].capacity.memory", "64Gi"),
        ({"hosts": [HOST, HOST]}, "hosts[1]", r"is called 10\.0\.0\.1 as hosts\[0\] is"),
        ({"hosts": [HOST, {**HOST, "name": "x"}]}, "hosts[1].address", r"is hosts\[0\] already"),
        ({"hosts": [HOST], "resetCommands": [""]}, "resetCommands[0]", "empty"),
        ({"hosts": [HOST], "timeoutSeconds": {"connect": 0}}, "timeoutSeconds.connect", "at least 1"),
        ({"hosts": [HOST], "timeoutSeconds": {"conect": 1}}, "timeoutSeconds.conect", "did you mean connect"),
    ],
)
def test_wrong_config_names_the_key_and_the_remedy(config: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said) as wrong:
        parse_config(config)
    assert wrong.value.field == field
    assert "s3cret" not in wrong.value.message


def test_key_with_a_passphrase_is_opened_by_it() -> None:
    secret = {
        "ssh-privatekey": KEY.export_private_key(passphrase="s3cret"),
        "passphrase": b"s3cret\n",
        "known_hosts": f"10.0.0.1 {KEY.export_public_key().decode()}".encode(),
    }
    credentials = parse_credentials(secret)
    assert credentials.key.public_data == KEY.public_data
    assert "s3cret" not in repr(credentials)


@pytest.mark.parametrize(
    ("secret", "field"),
    [
        ({}, "ssh-privatekey"),
        ({"ssh-privatekey": b"s3cret"}, "ssh-privatekey"),
        ({"ssh-privatekey": PRIVATE[:200]}, "ssh-privatekey"),
        ({"ssh-privatekey": KEY.export_public_key()}, "ssh-privatekey"),
        ({"ssh-privatekey": KEY.export_private_key(passphrase="x")}, "ssh-privatekey"),
        ({"ssh-privatekey": KEY.export_private_key(passphrase="x"), "passphrase": b"s3cret"}, "passphrase"),
        ({"ssh-privatekey": PRIVATE, "known_hosts": b"\xffs3cret"}, "known_hosts"),
    ],
)
def test_wrong_credentials_name_the_key_and_never_the_value(secret: dict[str, bytes], field: str) -> None:
    with pytest.raises(InvalidSpec, match=f"key {field} of the credentials Secret") as wrong:
        create_driver(secret)
    assert wrong.value.field == field
    assert "s3cret" not in wrong.value.message
    assert PRIVATE.decode().splitlines()[1] not in wrong.value.message


@pytest.mark.parametrize(
    "provider_id", ["aws:///x/i-1", "ssh://", "ssh://a", "ssh://a/b/c", "ssh://a;id/t", "ssh://a/t;id"]
)
async def test_foreign_provider_id_reaches_no_host(provider_id: str) -> None:
    driver = create_driver({"ssh-privatekey": PRIVATE})
    with pytest.raises(InvalidSpec, match="not a provider id of the driver ssh"):
        await driver.get(InstanceKey(cluster="c", token="t", provider_id=provider_id))


async def test_host_that_left_the_pool_is_never_not_found() -> None:
    driver = create_driver({"ssh-privatekey": PRIVATE})
    with pytest.raises(Transient, match=r"no longer in config\.hosts"):
        await driver.get(InstanceKey(cluster="c", token="t", provider_id="ssh://gone/t", config={"hosts": [HOST]}))


def test_configs_that_people_are_shown_can_be_used() -> None:
    page = (ROOT / "docs/drivers/ssh.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    shown.append((ROOT / "deploy/examples/ssh/classes.yaml").read_text(encoding="utf-8"))
    configs = [parse_config(yaml.safe_load(text)["spec"]["config"]) for text in shown]
    assert [len(config.hosts) for config in configs] == [2, 3]


def test_page_names_every_key_and_its_default() -> None:
    page = (ROOT / "docs/drivers/ssh.md").read_text(encoding="utf-8")
    names = [field.encode_name for struct in (Config, HostEntry) for field in msgspec.structs.fields(struct)]
    assert [name for name in names if f"{name}`" not in page] == []
    defaults = msgspec.to_builtins(Timeouts())
    assert [name for name, value in defaults.items() if f"`{name}` {value:g}" not in page] == []


def test_driver_is_found_by_its_entry_point() -> None:
    drivers = load_drivers()
    assert drivers["ssh"] is create_driver
    assert drivers["ssh"].required_credentials == ("ssh-privatekey",)
