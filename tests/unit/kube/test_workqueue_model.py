"""The work queue against a model that is nothing but sets: whatever is done to it, in whatever order."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from testbed.manual_clock import ManualClock

from nodeset_provider.kube.workqueue import WorkQueue

KEYS = st.sampled_from("ab")


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.queue: WorkQueue[str] = WorkQueue("model", base_delay=1.0, max_delay=8.0, clock=self.clock)
        self.loop = asyncio.new_event_loop()
        self.wanted: dict[str, float] = {}  # key -> when it is due
        self.processing: set[str] = set()
        self.failures: dict[str, int] = {}

    def teardown(self) -> None:
        self.loop.close()

    def want(self, key: str, when: float) -> None:
        self.wanted[key] = min(when, self.wanted.get(key, when))

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.want(key, self.clock.monotonic())

    @rule(key=KEYS, seconds=st.integers(0, 20))
    def add_after(self, key: str, seconds: int) -> None:
        self.queue.add_after(key, seconds)
        self.want(key, self.clock.monotonic() + seconds)

    @rule(key=KEYS)
    def add_rate_limited(self, key: str) -> None:
        self.queue.add_rate_limited(key)
        failures = self.failures.get(key, 0)
        self.failures[key] = failures + 1
        self.want(key, self.clock.monotonic() + min(8.0, 2.0**failures))

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds: int) -> None:
        self.clock.jump(seconds)

    @precondition(lambda self: self.due)
    @rule()
    def get(self) -> None:
        key = self.loop.run_until_complete(asyncio.wait_for(self.queue.get(), 5))
        assert key in self.due, f"{key} was handed out before it was due, or to two workers at once"
        self.processing.add(key)
        # A delayed add that was made on top of a due one may still come: only sooner ones replace it.
        del self.wanted[key]
        for when, _, delayed in self.queue._heap:
            if delayed == key and self.queue._due.get(key) == when:
                self.want(key, when)

    @precondition(lambda self: self.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.processing)))
        self.queue.done(key)
        self.processing.discard(key)

    @property
    def due(self) -> set[str]:
        now = self.clock.monotonic()
        return {key for key, when in self.wanted.items() if when <= now and key not in self.processing}

    @invariant()
    def exactly_the_due_keys_are_ready(self) -> None:
        assert set(self.queue._ready) == self.due
        assert len(self.queue) == len(self.due), "a key is in the queue twice"

    @invariant()
    def failures_are_counted_by_key(self) -> None:
        assert all(self.queue.retries(key) == self.failures.get(key, 0) for key in "ab")

    @invariant()
    def at_most_one_timer_runs(self) -> None:
        assert self.clock.timers == (1 if self.queue._due else 0)


TestTheQueueIsTheModel = QueueMachine.TestCase
TestTheQueueIsTheModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
