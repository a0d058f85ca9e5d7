"""The work queue against a model that is nothing but sets: whatever is done to it, in whatever order."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from nodeset_provider.kube.workqueue import WorkQueue

KEYS = st.sampled_from("abcde")


@pytest.fixture
def machine(make_clock):
    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.clock = make_clock()
            self.queue = WorkQueue("model", base_delay=1.0, max_delay=8.0, clock=self.clock)
            self.loop = asyncio.new_event_loop()
            self.wanted = {}  # key -> when it is due
            self.processing = set()
            self.failures = {}

        def teardown(self):
            self.loop.close()

        def want(self, key, when):
            self.wanted[key] = min(when, self.wanted.get(key, when))

        @rule(key=KEYS)
        def add(self, key):
            self.queue.add(key)
            self.want(key, self.clock.monotonic())

        @rule(key=KEYS, seconds=st.integers(0, 20))
        def add_after(self, key, seconds):
            self.queue.add_after(key, seconds)
            self.want(key, self.clock.monotonic() + seconds)

        @rule(key=KEYS)
        def add_rate_limited(self, key):
            self.queue.add_rate_limited(key)
            failures = self.failures.get(key, 0)
            self.failures[key] = failures + 1
            self.want(key, self.clock.monotonic() + min(8.0, 2.0**failures))

        @rule(key=KEYS)
        def forget(self, key):
            self.queue.forget(key)
            self.failures.pop(key, None)

        @rule(seconds=st.integers(1, 10))
        def wait(self, seconds):
            self.clock.jump(seconds)

        @precondition(lambda self: self.due)
        @rule()
        def get(self):
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
        def done(self, data):
            key = data.draw(st.sampled_from(sorted(self.processing)))
            self.queue.done(key)
            self.processing.discard(key)

        @property
        def due(self):
            now = self.clock.monotonic()
            return {key for key, when in self.wanted.items() if when <= now and key not in self.processing}

        @invariant()
        def exactly_the_due_keys_are_ready(self):
            assert set(self.queue._ready) == self.due
            assert len(self.queue) == len(self.due), "a key is in the queue twice"

        @invariant()
        def failures_are_counted_by_key(self):
            assert all(self.queue.retries(key) == self.failures.get(key, 0) for key in "abcde")

        @invariant()
        def at_most_one_timer_runs(self):
            assert self.clock.timers == (1 if self.queue._due else 0)

    return Machine


def test_the_queue_is_the_model(machine):
    run_state_machine_as_test(machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
