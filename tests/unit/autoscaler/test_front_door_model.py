"""The front door against the truth in the API server: no sequence of the autoscaler's calls, repetitions, time-outs and

lost answers, with a NodeSet controller acting at any moment in between and caches that lag behind, makes or kills a
machine too many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import grpc
from autoscaler_world import Denied, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nodeset_provider.api.names import LABEL_NODESET
from nodeset_provider.kube.errors import Unavailable
from nodeset_provider.kube.indexes import MACHINE_BY_NODESET
from nodeset_provider.kube.resources import MACHINES, NODE_SETS, Resource
from nodeset_provider.protocol import externalgrpc_pb2 as pb

GROUPS = ("a", "b")
MAXIMUM = 6

group = st.sampled_from(GROUPS)
incident = st.sampled_from(["nothing", "status write", "lost answer", "refused", "controller", "news"])
incidents = st.lists(incident, max_size=6)
"""What happens right before each of the call's requests to the API server, in order."""


class FrontDoorModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        for name in GROUPS:
            self.world.node_set(name, maximum=MAXIMUM)
        self.world.deliver = False
        self.named: set[str] = set()
        """Machines that a DeleteNodes has named."""
        self.killed: set[str] = set()
        self.launched: set[str] = set()
        self.pending_incidents: deque[str] = deque()
        self.answers_lost = 0
        self.last_delete: tuple[str, list[str]] | None = None
        self.start()

    def start(self) -> None:
        self.world.start_provider()
        self.world.client.fault = self.before_request
        self.last_delete = None

    def teardown(self) -> None:
        self.settle()
        self.loop.close()

    # --- the truth ---------------------------------------------------------------------------------------------------

    def machines(self, name: str) -> dict[str, dict[str, Any]]:
        return {
            key: body
            for (base, key), body in self.world.api.objects.items()
            if base == MACHINES.path() and body["metadata"]["labels"][LABEL_NODESET] == name
        }

    def deleting(self, name: str) -> set[str]:
        return {key for key, body in self.machines(name).items() if "deletionTimestamp" in body["metadata"]}

    def staying(self, name: str) -> set[str]:
        return set(self.machines(name)) - self.deleting(name) - set(self.world.remove_first(name))

    def instance_id(self, machine: str) -> str:
        body = self.world.api.objects[MACHINES.path(), machine]
        return body["status"].get("providerID") or f"nodeset://pending/{machine}"

    # --- a NodeSet controller, one write at a time, and machines that live -------------------------------------------

    def controller_steps(self, name: str) -> list[tuple[str, str]]:
        victims = [("kill", key) for key in self.world.remove_first(name) if key in self.staying_or_named(name)]
        surplus = len(self.staying(name)) - self.world.replicas(name)
        young_first = sorted(sorted(self.staying(name), reverse=True), key=lambda key: key in self.launched)
        victims += [("kill", key) for key in young_first[: max(0, surplus)]]
        done = set(self.world.remove_first(name)) - (set(self.machines(name)) - self.deleting(name))
        prune = [("prune", "")] if done else []
        create = [("create", "")] if surplus < 0 else []
        return [*victims, *prune, *create]

    def staying_or_named(self, name: str) -> set[str]:
        return set(self.machines(name)) - self.deleting(name)

    def controller_step(self, name: str, choice: int) -> bool:
        steps = self.controller_steps(name)
        if not steps:
            return False
        step, key = steps[choice % len(steps)]
        if step == "kill":
            assert key in self.named or key not in self.launched, f"{key} ran and nobody asked for its end"
            self.killed.add(key)
            self.world.delete_machine(key)
        elif step == "create":
            self.world.machine(name)
        else:
            alive = set(self.machines(name)) - self.deleting(name)
            self.world.change_spec(name, removeFirst=[key for key in self.world.remove_first(name) if key in alive])
        return True

    @rule(name=group, choice=st.integers(0, 5))
    def controller_acts(self, name: str, choice: int) -> None:
        self.controller_step(name, choice)

    @rule(name=group, choice=st.integers(0, 5), kind=st.sampled_from(["launch", "register", "fail", "gone"]))
    def machine_lives(self, name: str, choice: int, kind: str) -> None:
        pool = sorted(self.deleting(name) if kind == "gone" else set(self.machines(name)) - self.deleting(name))
        if not pool:
            return
        key = pool[choice % len(pool)]
        if kind == "gone":
            self.world.machine_gone(key)
        elif kind == "launch":
            self.launched.add(key)
            self.world.change_machine(key, status={"providerID": f"cloud://{key}"})
        elif kind == "register" and key in self.launched:
            self.world.change_machine(key, status={"nodeRef": {"name": key, "uid": key}})
        elif kind == "fail" and key not in self.launched:
            self.world.failed(key, "InsufficientCapacity")

    @rule(name=group)
    def status_is_written(self, name: str) -> None:
        self.world.touch(name)

    @rule(events=st.integers(1, 4), resource=st.sampled_from([NODE_SETS, MACHINES]))
    def news_arrives(self, events: int, resource: Resource[Any]) -> None:
        """Two watches: what comes by one of them may be older than what has come by the other."""
        self.world.catch_up(events, resource)

    @rule()
    def all_news_arrives(self) -> None:
        self.world.catch_up()

    @rule()
    def provider_restarts(self) -> None:
        self.start()

    async def before_request(self, verb: str, name: str) -> None:
        happening = self.pending_incidents.popleft() if self.pending_incidents else "nothing"
        if happening == "status write":
            for each in GROUPS:
                self.world.touch(each)
        elif happening == "controller":
            for each in GROUPS:
                self.controller_step(each, len(self.pending_incidents))
        elif happening == "news":
            self.world.catch_up(2, NODE_SETS)
        elif happening == "refused":
            raise Unavailable(503, "ServiceUnavailable", "not now")
        elif happening == "lost answer" and verb == "patch":
            self.answers_lost += 1
            self.world.client.lose_answer = True

    # --- the autoscaler ----------------------------------------------------------------------------------------------

    def call(self, rpc: str, happening: list[str], **fields: Any) -> grpc.StatusCode:
        self.pending_incidents = deque(happening)
        self.answers_lost = 0
        try:
            self.loop.run_until_complete(self.world.call(rpc, **fields))
        except Denied as refusal:
            return refusal.code
        finally:
            self.pending_incidents.clear()
            self.world.client.lose_answer = False
            self.surplus_goes_at_once(fields["id"], happening)
        return grpc.StatusCode.OK

    def surplus_goes_at_once(self, name: str, happening: list[str]) -> None:
        """A slot was given back in the moment in which its Machine was made, and then the API server failed.

        The controller is told of the new size at once, long before such a Machine runs.
        """
        while len(self.staying(name)) > self.world.replicas(name):
            assert {"lost answer", "refused"} & set(happening), "only a failing API server leaves a surplus"
            self.controller_step(name, 0)

    @rule(name=group, delta=st.integers(1, 3), happening=incidents)
    def increase(self, name: str, delta: int, happening: list[str]) -> None:
        before = self.world.replicas(name)
        code = self.call("NodeGroupIncreaseSize", happening, id=name, delta=delta)
        after = self.world.replicas(name)
        if before + delta > MAXIMUM:
            assert after == before
            assert code in {grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAVAILABLE}
        elif code is grpc.StatusCode.OK:
            assert after == before + delta
            assert self.target(name) == after
        else:
            assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED}
            assert after == before or (after == before + delta and self.answers_lost)

    @rule(name=group, delta=st.integers(1, 3), happening=incidents)
    def decrease(self, name: str, delta: int, happening: list[str]) -> None:
        before, staying = self.world.replicas(name), len(self.staying(name))
        there, killed = set(self.machines(name)), set(self.killed)
        code = self.call("NodeGroupDecreaseTargetSize", happening, id=name, delta=-delta)
        after = self.world.replicas(name)
        assert max(before - delta, min(before, staying)) <= after <= before
        assert (self.killed - killed) & there <= self.named, "a decrease deletes nothing that was there"
        if code is grpc.StatusCode.OK and "controller" not in happening:
            assert after == min(before, max(before - delta, staying))

    def listed(self, name: str) -> list[str]:
        instances = self.loop.run_until_complete(self.world.instances(name))
        return list(instances)

    @rule(name=group, picks=st.lists(st.integers(0, 7), min_size=1, max_size=3), happening=incidents)
    def delete(self, name: str, picks: list[int], happening: list[str]) -> None:
        """Of what this process lists, which may be behind the truth."""
        listed = self.listed(name)
        if listed:
            self.delete_nodes(name, [listed[pick % len(listed)] for pick in picks], happening)

    @precondition(lambda self: self.last_delete is not None)
    @rule(happening=incidents)
    def delete_again(self, happening: list[str]) -> None:
        """The autoscaler repeats what it believes to have failed, or what it has not seen take effect."""
        assert self.last_delete is not None
        name, ids = self.last_delete
        before = self.world.replicas(name)
        code = self.delete_nodes(name, ids, happening)
        if code is grpc.StatusCode.OK:
            self.world.catch_up()
            assert self.world.replicas(name) <= before

    def delete_nodes(self, name: str, ids: list[str], happening: list[str]) -> grpc.StatusCode:
        by_id = {
            key: machine
            for machine in self.machines(name)
            for key in (self.instance_id(machine), f"nodeset://pending/{machine}")
        }
        victims = {by_id[key] for key in ids if key in by_id} & self.staying(name)
        slots = {key for key in ids if key not in by_id}
        before = self.world.replicas(name)
        # A machine that the cache has seen and that is gone in truth is one of `slots` here and costs nothing below.
        self.named |= {by_id[key] for key in ids if key in by_id}
        nodes = [pb.ExternalGrpcNode(providerID=key, name=key) for key in ids]
        code = self.call("NodeGroupDeleteNodes", happening, id=name, nodes=nodes)
        lowered = before - self.world.replicas(name)
        if code is grpc.StatusCode.OK:
            assert len(victims) <= lowered <= len(victims) + len(slots)
            assert not victims & self.staying(name)
            assert self.call("NodeGroupDeleteNodes", [], id=name, nodes=nodes) is grpc.StatusCode.OK
            again = before - self.world.replicas(name)
            # A slot that was about to become a Machine in the first call may be one again in the second.
            assert again == lowered or (slots and "controller" in happening)
            assert again <= len(victims) + len(slots), "twice costs once"
            self.last_delete = (name, ids)
        else:
            assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND}
            assert lowered == 0 or self.answers_lost
        return code

    # --- what always holds -------------------------------------------------------------------------------------------

    def target(self, name: str) -> int:
        return self.loop.run_until_complete(self.world.target(name))

    @invariant()
    def target_is_instances_that_stay_and_pending_ones(self) -> None:
        for name in GROUPS:
            states = self.loop.run_until_complete(self.world.states(name))
            present = sum(state != "instanceDeleting" for state in states.values())
            target = self.target(name)
            known = self.world.node_sets.get(name)
            staying = sum(
                not machine.metadata.deleting and machine.metadata.name not in known.spec.remove_first
                for machine in self.world.machines.by_index(MACHINE_BY_NODESET, name)
            )
            # With caches that lag behind each other there may be more Machines than replicas for a moment.
            assert present == max(target, staying)

    @rule()
    def settle(self) -> None:
        """The controller has done all that there is to do, and everybody has heard of it."""
        for name in GROUPS:
            while self.controller_step(name, 0):
                pass
            assert len(self.staying(name)) == self.world.replicas(name)
            assert 0 <= self.world.replicas(name) <= MAXIMUM
        self.world.catch_up()
        for name in GROUPS:
            states = self.loop.run_until_complete(self.world.states(name))
            assert self.target(name) == self.world.replicas(name)
            assert {key for key, state in states.items() if state != "instanceDeleting"} == {
                self.instance_id(machine) for machine in self.staying(name)
            }


TestFrontDoor = FrontDoorModel.TestCase
TestFrontDoor.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
