"""Certificate requests over time: what changes while it is decided, what waits, and what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from testbed.certificate_requests import CLIENT, SERVING, SERVING_USAGES, manifest, request_pem
from testbed.memory_world import World

from nodeset_provider.api.csr import CertificateSigningRequest
from nodeset_provider.api.machine import Machine
from nodeset_provider.controllers.cluster import bootstrap_key
from nodeset_provider.controllers.csr.client import SECOND_CHANCE_SECONDS
from nodeset_provider.controllers.csr.verdict import PATIENCE_SECONDS
from nodeset_provider.join.bootstrap_token import derive
from nodeset_provider.kube.errors import Unavailable
from nodeset_provider.kube.resources import CERTIFICATE_SIGNING_REQUESTS, EVENTS, MACHINES

NAMESPACE = "provider"
REQUESTS = CERTIFICATE_SIGNING_REQUESTS.path()


class Lab:
    """A world with one launched machine that has not joined, ``machine``."""

    def __init__(self, world: World, key: bytes) -> None:
        self.world = world
        self._key = key
        self.name = self.machine.metadata.name
        self.common_name = f"system:node:{self.name}"

    @property
    def machine(self) -> Machine:
        (machine,) = self.world.machines
        return machine

    def body(self, name: str, common_name: str = "", *, attempt: int = 1, second: int = 0) -> dict[str, Any]:
        """A client's request that came with the token of that attempt."""
        body = manifest(name, request_pem(common_name or self.common_name), signer=CLIENT)
        body["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{second:02}Z"
        body["spec"]["username"] = derive(self._key, self.machine.metadata.uid, attempt).username
        body["spec"]["groups"] = ["system:bootstrappers:nodeset", f"system:bootstrappers:nodeset:{self.name}"]
        return body

    def serving_body(self, name: str, names: Sequence[str]) -> dict[str, Any]:
        """A request of the machine's Node."""
        body = manifest(name, request_pem(self.common_name, names=names), signer=SERVING, usages=SERVING_USAGES)
        body["spec"]["username"], body["spec"]["groups"] = self.common_name, ["system:nodes"]
        return body

    async def ask(self, body: dict[str, Any]) -> str:
        """Post it; its name."""
        name = str(body["metadata"]["name"])
        self.world.api.write(REQUESTS, name, body)
        await self.world.settle()
        return name

    def request(self, name: str) -> CertificateSigningRequest:
        return next(csr for csr in self.world.all(CERTIFICATE_SIGNING_REQUESTS) if csr.metadata.name == name)

    def decision(self, name: str) -> str:
        """Approved or Denied; empty until then."""
        return "".join(condition.type for condition in self.request(name).status.conditions)

    def told(self, reason: str) -> list[str]:
        """Messages of the Warnings about the Machine."""
        return [
            event.message
            for event in self.world.all(EVENTS.within("default"))
            if event.reason == reason and event.involved_object.name == self.name
        ]

    def before(self, verb: str, name: str, do: Any) -> None:  # noqa: ANN401 - any coroutine function
        """Once, right before the controllers' next request with that verb for that object, do this."""
        client, usual = self.world.client, self.world.healthy
        assert client is not None

        async def point(what: str, about: str) -> None:
            if (what, about) == (verb, name):
                client.fault = usual
                await do()
            await usual(what, about)

        client.fault = point


@pytest.fixture
async def lab() -> Any:  # noqa: ANN401
    world = World()
    world.put_class(launchTimeoutSeconds=3600)
    world.put_set(replicas=1)
    await world.start()
    await world.pass_time(2)
    assert world.client is not None
    yield Lab(world, await bootstrap_key(world.client, NAMESPACE))
    await world.stop()


async def test_what_a_request_is_labelled_with_stays_and_does_not_matter(lab: Lab) -> None:
    body = lab.body("csr-1")
    body["metadata"]["annotations"] = {"kept": "yes"}
    assert lab.decision(await lab.ask(body)) == "Approved"
    assert lab.request("csr-1").metadata.annotations == {"kept": "yes"}


async def test_a_request_that_changes_between_two_reads_is_decided_anew(lab: Lab) -> None:
    async def meddle() -> None:
        stored = lab.world.api.objects[REQUESTS, "csr-1"]
        stored["metadata"]["annotations"] = {"meddled": "yes"}
        lab.world.api.write(REQUESTS, "csr-1", stored)

    lab.before("patch", "csr-1", meddle)
    await lab.ask(lab.body("csr-1"))
    await lab.world.pass_time(3)
    assert lab.decision("csr-1") == "Approved"
    assert lab.request("csr-1").metadata.annotations == {"meddled": "yes"}
    assert lab.world.api.log.count(("patch", "csr-1")) == 2


@pytest.mark.parametrize(
    ("first", "then"), [("", "system:node:other"), ("system:node:other", "")], ids=["worse", "better"]
)
async def test_another_request_of_the_same_name_is_not_decided_by_what_the_first_one_said(
    lab: Lab, first: str, then: str
) -> None:
    async def replace() -> None:
        lab.world.api.remove(REQUESTS, "csr-1")
        lab.world.api.write(REQUESTS, "csr-1", lab.body("csr-1", then))

    lab.before("patch", "csr-1", replace)
    await lab.ask(lab.body("csr-1", first))
    await lab.world.pass_time(3)
    assert lab.decision("csr-1") == ("Denied" if then else "Approved")


async def test_nothing_is_denied_by_a_cache_that_is_behind(lab: Lab) -> None:
    """Another leader has opened the next attempt, and its machine is faster than our watch."""

    async def next_attempt() -> None:
        stored = lab.world.api.objects[MACHINES.path(), lab.name]
        lab.world.api.write(MACHINES.path(), lab.name, {**stored, "status": {**stored["status"], "attempt": 2}})

    lab.before("get", lab.name, next_attempt)
    await lab.ask(lab.body("csr-1", attempt=2))
    await lab.world.pass_time(3)
    assert lab.decision("csr-1") == "Approved"
    assert not lab.told("CertificateDenied")


async def test_a_denial_says_why_on_the_request_and_on_the_machine(lab: Lab) -> None:
    await lab.ask(lab.body("csr-1", "system:node:other"))
    (condition,) = lab.request("csr-1").status.conditions
    assert (condition.type, condition.status, condition.reason) == ("Denied", "True", "CertificateDenied")
    assert "asks for 'system:node:other'" in condition.message
    (message,) = lab.told("CertificateDenied")
    assert "csr-1 is denied: it asks for" in message


async def test_two_requests_at_one_time_do_not_both_pass(lab: Lab) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        await go_on.wait()

    lab.before("patch", "csr-1", wait)
    await lab.ask(lab.body("csr-1", second=1))
    assert started.is_set()
    await lab.ask(lab.body("csr-2", second=2))
    await lab.world.pass_time(3)
    assert not lab.decision("csr-2")
    go_on.set()
    await lab.world.pass_time(3)
    assert (lab.decision("csr-1"), lab.decision("csr-2")) == ("Approved", "")
    (message,) = lab.told("CertificateWaiting")
    assert "csr-1 was approved with it" in message


async def test_a_kubelet_that_lost_its_first_certificate_gets_another_the_latest_that_it_asked_for(lab: Lab) -> None:
    for number in (1, 2, 3):
        await lab.ask(lab.body(f"csr-{number}", second=number))
    assert [lab.decision(f"csr-{number}") for number in (1, 2, 3)] == ["Approved", "", ""]
    await lab.world.pass_time(SECOND_CHANCE_SECONDS + 10)
    assert [lab.decision(f"csr-{number}") for number in (1, 2, 3)] == ["Approved", "", "Approved"]


async def test_a_new_leader_knows_that_a_token_was_used(lab: Lab) -> None:
    await lab.ask(lab.body("csr-1", second=1))
    await lab.world.restart()
    await lab.ask(lab.body("csr-2", second=2))
    await lab.world.pass_time(SECOND_CHANCE_SECONDS / 2)
    assert not lab.decision("csr-2")


async def test_what_somebody_else_approved_is_told_once_and_what_we_approved_is_not(lab: Lab) -> None:
    await lab.ask(lab.body("csr-1"))
    assert lab.decision("csr-1") == "Approved"
    body = lab.body("csr-2", "system:node:other", second=1)
    body["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "AutoApproved"}]}
    await lab.ask(body)
    lab.world.api.write(REQUESTS, "csr-2", {**body, "metadata": {**body["metadata"], "labels": {"a": "b"}}})
    await lab.world.pass_time(5)
    (message,) = lab.told("CertificateApprovedByOthers")
    assert "csr-2 was not approved by the provider (AutoApproved" in message


async def test_what_waits_is_said_once_and_only_after_a_while(lab: Lab) -> None:
    lab.world.join(lab.machine)
    await lab.world.pass_time(10)
    await lab.ask(lab.serving_body("csr-1", ["10.9.9.9"]))
    await lab.world.pass_time(PATIENCE_SECONDS - 5)
    assert not lab.told("CertificateWaiting")
    await lab.world.pass_time(600, step=5)
    (message,) = lab.told("CertificateWaiting")
    assert "it asks for 10.9.9.9, " in message


async def test_a_serving_request_that_is_faster_than_the_registration_is_approved_with_it(lab: Lab) -> None:
    await lab.ask(lab.serving_body("csr-1", [lab.name]))
    await lab.world.pass_time(5)
    assert not lab.decision("csr-1")
    lab.world.join(lab.machine)
    await lab.world.pass_time(10)
    assert lab.decision("csr-1") == "Approved"
    assert not lab.told("CertificateWaiting")


async def test_the_name_of_another_node_or_machine_is_anothers(lab: Lab) -> None:
    lab.world.join(lab.machine)
    lab.world.api.write("/api/v1/nodes", "control-plane", {})
    await lab.world.pass_time(10)
    assert lab.decision(await lab.ask(lab.serving_body("csr-1", [lab.name, "control-plane"]))) == "Denied"


def with_addresses(*addresses: str) -> dict[str, Any]:
    return {"status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]}}


async def test_an_address_that_somebody_else_has_too_is_not_signed_until_he_is_gone(lab: Lab) -> None:
    lab.world.join(lab.machine)
    await lab.world.pass_time(10)
    (own, *_) = [address.address for address in lab.machine.status.addresses]
    lab.world.api.write("/api/v1/nodes", "control-plane", with_addresses(own))
    name = await lab.ask(lab.serving_body("csr-1", [own]))
    await lab.world.pass_time(PATIENCE_SECONDS + 10)
    assert not lab.decision(name)
    (message,) = lab.told("CertificateWaiting")
    assert f"asks for {own}, which Node control-plane has too" in message
    lab.world.api.write("/api/v1/nodes", "control-plane", with_addresses("10.99.0.1"))
    await lab.world.pass_time(10)
    assert lab.decision(name) == "Approved"


async def test_a_node_of_another_machine_cannot_claim_an_address_by_saying_so(lab: Lab) -> None:
    lab.world.put_set(replicas=2)
    await lab.world.pass_time(10)
    for machine in lab.world.machines:
        lab.world.join(machine)
    await lab.world.pass_time(10)
    first, second = lab.world.machines
    (own, *_) = [address.address for address in first.status.addresses]
    lab.world.api.write("/api/v1/nodes", second.metadata.name, with_addresses(own))
    body = lab.serving_body("csr-1", [own])
    assert body["spec"]["username"] == f"system:node:{first.metadata.name}"
    assert lab.decision(await lab.ask(body)) == "Approved"


async def test_an_api_server_that_is_away_delays_and_decides_nothing_else(lab: Lab) -> None:
    async def away() -> None:
        raise Unavailable(0, "Timeout", "no answer")

    for name, common_name, expected in (("csr-1", "", "Approved"), ("csr-2", "system:node:other", "Denied")):
        lab.before("patch", name, away)
        await lab.ask(lab.body(name, common_name))
        await lab.world.pass_time(10)
        assert lab.decision(name) == expected


async def test_who_does_not_lead_writes_nothing(lab: Lab) -> None:
    lab.world.leads = False
    await lab.ask(lab.body("csr-1"))
    await lab.ask(lab.body("csr-2", "system:node:other"))
    await lab.world.pass_time(10)
    assert not lab.decision("csr-1")
    assert not lab.decision("csr-2")


async def test_requests_that_were_made_while_nobody_led_are_decided_by_the_next_leader(lab: Lab) -> None:
    await lab.world.stop()
    lab.world.api.write(REQUESTS, "csr-1", lab.body("csr-1"))
    await lab.world.start()
    await lab.world.pass_time(2)
    assert lab.decision("csr-1") == "Approved"
