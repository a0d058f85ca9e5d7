"""Config and credentials are read strictly, with errors that name the key; the secret is in none of them."""

from typing import Any

import pytest
from nodeset_driver_simulated import create_driver
from nodeset_driver_simulated.config import Config, parse_config, parse_credentials

from nodeset_provider.driverkit.contract import InstanceKey
from nodeset_provider.driverkit.errors import InvalidSpec
from nodeset_provider.driverkit.registry import load_drivers

GOOD = {"endpoint": b"http://h:1/", "token": b"s3cret\n"}


def test_full_config_is_taken() -> None:
    config = {"instanceType": "a", "zone": "z", "assignedID": True}
    assert parse_config(config) == Config(instance_type="a", zone="z", assigned_id=True)


@pytest.mark.parametrize(
    ("config", "field", "said"),
    [
        ({}, "instanceType", "required"),
        ({"instanceType": ""}, "instanceType", "empty"),
        ({"instanceType": 1}, "instanceType", "str"),
        ({"instanceType": "a", "zone": None}, "zone", "str"),
        ({"instanceType": "a", "assignedID": "yes"}, "assignedID", "bool"),
        ({"instanceType": "a", "assignedId": True}, "assignedId", "known are instanceType, zone, assignedID"),
        ({"instanceType": "a", "endpoint": "http://h"}, "endpoint", "Secret that credentialsRef names"),
    ],
)
def test_wrong_config_names_the_key(config: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said) as wrong:
        parse_config(config)
    assert wrong.value.field == field


def test_credentials_are_trimmed_and_the_token_is_in_no_repr() -> None:
    credentials = parse_credentials(GOOD)
    assert (credentials.endpoint, credentials.token) == ("http://h:1", "s3cret")
    assert "s3cret" not in repr(credentials)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"endpoint": b""}, "endpoint"),
        ({"endpoint": b"ftp://h"}, "endpoint"),
        ({"endpoint": b"http://"}, "endpoint"),
        ({"endpoint": b"http://u:s3cret@h"}, "endpoint"),
        ({"endpoint": b"http://[s3cret"}, "endpoint"),
        ({"endpoint": b"http://h:port"}, "endpoint"),
        ({"token": b" "}, "token"),
        ({"token": b"s3cret\nX: y"}, "token"),
        ({"token": b"s3cret\xff"}, "token"),
    ],
)
def test_wrong_credentials_name_the_key_and_never_the_value(change: dict[str, bytes], field: str) -> None:
    with pytest.raises(InvalidSpec, match=f"key {field}") as wrong:
        create_driver({**GOOD, **change})
    assert wrong.value.field == field
    assert "s3cret" not in str(wrong.value)


@pytest.mark.parametrize("provider_id", ["aws:///x/i-1", "simulated://", "simulated://a/../b", "simulated://a?b", "x"])
async def test_foreign_provider_id_reaches_no_cloud(provider_id: str) -> None:
    driver = create_driver({**GOOD, "endpoint": b"http://127.0.0.1:1"})
    with pytest.raises(InvalidSpec, match="not a provider id of the simulated cloud"):
        await driver.get(InstanceKey(cluster="c", token="t", provider_id=provider_id))
    await driver.close()


def test_driver_is_found_by_its_entry_point() -> None:
    drivers = load_drivers()
    assert drivers["simulated"] is create_driver
    assert drivers["simulated"].required_credentials == ("endpoint", "token")
