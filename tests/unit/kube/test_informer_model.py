"""The informer against the server's own state: whatever happens, in whatever order, it ends up telling the truth."""

import asyncio
import copy
import json
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from testbed.manual_clock import ManualClock
from testbed.memory_api import MemoryApi, MemoryClient

from nodeset_provider.api.node import Node
from nodeset_provider.kube.codec import codec_for
from nodeset_provider.kube.errors import ApiError, Forbidden, Unavailable
from nodeset_provider.kube.informer import Informer
from nodeset_provider.kube.resources import NODES

NAMES = st.sampled_from(["n1", "n2", "n3"])
COLOURS = st.sampled_from(["red", "blue"])
BASE = NODES.path()


class InformerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.loop.run_until_complete(self.start())

    async def start(self) -> None:
        self.api = MemoryApi()
        self.client = MemoryClient(self.api)
        self.answers: list[Node] = []
        self.told: dict[str, Node] = {}
        self.backup: tuple[int, dict[tuple[str, str], dict[str, object]]] | None = None
        self.informer = Informer(
            self.client,
            NODES,
            indexers={"colour": lambda node: [node.metadata.labels["colour"]]},
            clock=self.clock,
            random=random.Random(0).random,
        )
        self.informer._page = 2
        self.informer.add_handler(self.handle)
        self.task = asyncio.create_task(self.informer.run())

    def teardown(self) -> None:
        try:
            # However it went: once it is well again, and the last late answer has come, the cache is the truth.
            self.all_is_well_for_a_while()
            for answer in self.answers:
                self.informer.observe(answer)
            self.all_is_well_for_a_while()
        finally:
            self.task.cancel()
            self.loop.run_until_complete(asyncio.wait([self.task]))
            self.loop.close()

    def handle(self, old: Node | None, new: Node | None) -> None:
        """What the handlers are told must be a history: each change begins where the last one ended."""
        name = (new or old).metadata.name
        assert self.told.get(name) is old
        assert old is None or new is None or old.metadata.uid == new.metadata.uid
        if new is None:
            del self.told[name]
        else:
            self.told[name] = new

    def write(self, name: str, colour: str) -> Node:
        body = self.api.write(BASE, name, {"metadata": {"labels": {"colour": colour}}})
        return codec_for(NODES).object(json.dumps(body).encode())

    @rule(name=NAMES, colour=COLOURS)
    def others_write(self, name: str, colour: str) -> None:
        self.write(name, colour)

    @rule(name=NAMES, colour=COLOURS)
    def we_write_and_the_answer_comes_some_time(self, name: str, colour: str) -> None:
        self.answers.append(self.write(name, colour))

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def an_answer_comes(self, data: st.DataObject) -> None:
        answer = self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1)))
        self.informer.observe(answer)
        held = self.informer.get(answer.metadata.name)
        assert held is None or int(held.metadata.resource_version) >= int(answer.metadata.resource_version)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if (BASE, name) in self.api.objects:
            self.api.remove(BASE, name)

    @rule(name=NAMES, colour=COLOURS)
    def delete_and_make_again(self, name: str, colour: str) -> None:
        self.delete(name)
        self.write(name, colour)

    @rule()
    def the_connection_breaks(self) -> None:
        self.api.break_watches()

    @rule()
    def the_history_is_compacted_and_the_connection_breaks(self) -> None:
        self.api.compact()
        self.api.break_watches()

    @rule()
    def etcd_is_backed_up(self) -> None:
        self.backup = (self.api.version, copy.deepcopy(self.api.objects))

    @precondition(lambda self: self.backup)
    @rule()
    def etcd_is_restored(self) -> None:
        self.api.restore(*self.backup)
        self.answers.clear()
        # Only before anything new is written can a watch tell that it comes from another future.
        self.all_is_well_for_a_while()

    @rule(error=st.sampled_from([Unavailable(503, "", "down"), Forbidden(403, "Forbidden", "no"), None]))
    def the_server_refuses(self, error: ApiError | None) -> None:
        async def fault(verb: str, name: str) -> None:
            if error is not None:
                raise error

        self.client.fault = fault

    @rule()
    def the_server_is_slow(self) -> None:
        async def fault(verb: str, name: str) -> None:
            await self.clock.sleep(0.5)

        self.client.fault = fault

    @rule(seconds=st.sampled_from([0.3, 1.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))

    @rule()
    def all_is_well_for_a_while(self) -> None:
        self.client.fault = None
        self.loop.run_until_complete(self.clock.advance(120))
        assert self.informer.synced
        truth = {name: body["metadata"]["resourceVersion"] for (_, name), body in self.api.objects.items()}
        held = {node.metadata.name: node.metadata.resource_version for node in self.informer.items()}
        assert held == truth

    @invariant()
    def it_never_ends_by_itself(self) -> None:
        assert not self.task.done()

    @invariant()
    def the_handlers_were_told_what_the_cache_holds(self) -> None:
        assert self.told == {node.metadata.name: node for node in self.informer.items()}

    @invariant()
    def the_index_is_the_cache_seen_from_another_side(self) -> None:
        for colour in ("red", "blue"):
            indexed = {node.metadata.name for node in self.informer.by_index("colour", colour)}
            held = self.informer.items()
            assert indexed == {node.metadata.name for node in held if node.metadata.labels["colour"] == colour}


TestTheCacheConvergesToTheServer = InformerMachine.TestCase
TestTheCacheConvergesToTheServer.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
