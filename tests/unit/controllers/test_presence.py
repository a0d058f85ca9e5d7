"""A provider that went for good is noticed by its Lease; one that speaks is believed, whatever its Lease says."""

from testbed.memory_world import NAMESPACE, World

from nodeset_provider.api.meta import ObjectMeta, find_condition
from nodeset_provider.controllers.presence import AWAY_SECONDS, LOOK_SECONDS, noted, told
from nodeset_provider.kube.errors import Forbidden, Unavailable
from nodeset_provider.kube.objects import Lease, LeaseSpec
from nodeset_provider.kube.resources import LEASES, NODE_CLASSES


def lease(name: str, drivers: str, renewed: int, *, ours: bool = True) -> Lease:
    labels = {"nodeset.dev/provider": ""} if ours else {}
    metadata = ObjectMeta(name=name, labels=labels, annotations={"nodeset.dev/drivers": drivers})
    return Lease(metadata, LeaseSpec(holder_identity="somebody", renew_time=str(renewed)))


def test_driver_is_gone_when_every_lease_that_names_it_stands_still() -> None:
    seen = noted({}, [lease("a", "aws,ssh", 1), lease("b", "ssh", 1), lease("c", "gcp", 1, ours=False)], 0.0)
    assert told(seen, 0.0) == ({"aws", "ssh"}, set())
    seen = noted(seen, [lease("a", "aws,ssh", 1), lease("b", "ssh", 2)], AWAY_SECONDS)
    assert told(seen, AWAY_SECONDS) == ({"ssh"}, {"aws"})
    seen = noted(seen, [lease("a", "aws,ssh", 3), lease("b", "ssh", 4)], AWAY_SECONDS + 30)
    assert told(seen, AWAY_SECONDS + 30) == ({"aws", "ssh"}, set())


def test_lease_that_was_deleted_says_nothing() -> None:
    seen = noted(noted({}, [lease("a", "aws", 1)], 0.0), [], AWAY_SECONDS)
    assert told(seen, AWAY_SECONDS) == (set(), set())


class Other:
    """A provider of another driver, by what it writes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.renewals = 0

    def renew(self) -> None:
        self.renewals += 1
        body = {
            "metadata": {
                "namespace": NAMESPACE,
                "labels": {"nodeset.dev/provider": ""},
                "annotations": {"nodeset.dev/drivers": "aws"},
            },
            "spec": {"holderIdentity": "other", "renewTime": f"2026-01-01T00:00:00.{self.renewals:06d}Z"},
        }
        self.world.api.write(LEASES.within(NAMESPACE).path(), "other", body)

    def judge(self) -> None:
        body = self.world.api.objects[NODE_CLASSES.path(), "small"]
        generation = body["metadata"]["generation"]
        condition = {"type": "Valid", "status": "True", "reason": "Resolved", "observedGeneration": generation}
        status = {"observedGeneration": generation, "conditions": [condition]}
        self.world.api.write(NODE_CLASSES.path(), "small", {**body, "status": status})

    async def live(self, seconds: float) -> None:
        for _ in range(int(seconds / 10)):
            self.renew()
            await self.world.pass_time(10, step=5)


def reason(world: World) -> str:
    found = find_condition(world.node_class().status.conditions, "Valid")
    return found.reason if found is not None else ""


async def two() -> tuple[World, Other]:
    world = World()
    world.put_class(driver="aws")
    world.put_set(replicas=1)
    other = Other(world)
    other.renew()
    await world.start()
    other.judge()
    return world, other


async def test_provider_that_went_for_good_is_told_of_and_its_return_too_as_often_as_it_happens() -> None:
    world, other = await two()
    for _ in range(2):
        await other.live(300)
        assert reason(world) == "Resolved"
        await world.pass_time(AWAY_SECONDS + 2 * LOOK_SECONDS, step=5)
        assert reason(world) == "DriverNotServed"
        assert find_condition(world.nodeset().status.conditions, "Ready").reason == "DriverNotServed"  # type: ignore[union-attr]
        other.renew()
        other.judge()
    await world.stop()


async def test_provider_that_is_there_is_given_the_time_that_it_needs() -> None:
    world = World()
    world.put_class(driver="aws")
    other = Other(world)
    await world.start()
    await other.live(600)
    assert reason(world) == ""
    await world.stop()


async def test_provider_that_speaks_though_its_lease_stands_still_is_not_argued_with() -> None:
    world, other = await two()
    await world.pass_time(AWAY_SECONDS + 2 * LOOK_SECONDS, step=5)
    assert reason(world) == "DriverNotServed"
    other.judge()
    await world.pass_time(1800, step=15)
    assert reason(world) == "Resolved", "it moved to another namespace and left its Lease behind"
    await world.stop()


async def test_outage_of_the_api_server_is_nobodys_end() -> None:
    world, other = await two()
    await other.live(60)
    assert world.client is not None
    healthy = world.client.fault

    async def down(_verb: str, _name: str) -> None:
        raise Unavailable(503, "ServiceUnavailable", "down")

    world.client.fault = down
    await world.pass_time(600, step=10)
    world.client.fault = healthy
    await world.pass_time(60, step=5)
    await other.live(300)
    assert reason(world) == "Resolved"
    await world.stop()


async def test_provider_that_may_not_read_leases_serves_all_the_same() -> None:
    world, _ = await two()
    assert world.client is not None
    healthy = world.client.fault
    assert healthy is not None

    async def refuse(verb: str, name: str) -> None:
        if verb == "list":
            raise Forbidden(403, "Forbidden", "leases is forbidden")
        await healthy(verb, name)

    world.client.fault = refuse
    world.put_class("own")
    world.put_set("own", node_class="own", replicas=1)
    await world.pass_time(600, step=15)
    assert len(world.machines) == 1
    assert reason(world) == "Resolved"
    await world.stop()
