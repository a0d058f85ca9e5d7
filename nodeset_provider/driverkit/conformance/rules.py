"""One test or more for each numbered rule of :mod:`nodeset_provider.driverkit.contract`; the number is in the name.

They run against whatever the fixture ``harness`` stands for. May touch: only what the harness and the driver touch.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import pytest

from nodeset_provider.driverkit.conformance.harness import Harness
from nodeset_provider.driverkit.conformance.steps import (
    POLL,
    by_id,
    by_token,
    delete_until_gone,
    listed,
    once_consistent,
    with_config,
)
from nodeset_provider.driverkit.contract import DIAGNOSIS_LIMIT, Deletion, Instance, InstanceState
from nodeset_provider.driverkit.errors import (
    DriverError,
    InsufficientCapacity,
    InvalidSpec,
    NotFound,
    QuotaExceeded,
    Throttled,
    Transient,
    Unauthorized,
)

_CONCURRENT = 8


@pytest.mark.asyncio
class ContractTests:
    """Subclass it as ``TestContract`` in a module that has the fixture ``harness``."""

    # --- 1: at most one machine per token ---------------------------------------------------------------------------
    async def test_rule_1_concurrent_creates_with_one_token_make_one_machine(self, harness: Harness) -> None:
        """From several processes at once; every call that succeeds answers that machine."""
        request = harness.request()
        answers = await asyncio.gather(
            *(harness.driver().create(request) for _ in range(_CONCURRENT)), return_exceptions=True
        )
        unexpected = [answer for answer in answers if not isinstance(answer, Instance | Transient | Throttled)]
        assert unexpected == []
        made = {answer.provider_id for answer in answers if isinstance(answer, Instance)}
        made.add((await harness.driver().create(request)).provider_id)
        assert len(made) == 1
        assert await harness.machines(request.token) == 1

    async def test_rule_1_different_tokens_make_different_machines(self, harness: Harness) -> None:
        """A token is the only thing that makes two requests one."""
        driver = harness.driver()
        first, second = await driver.create(harness.request("a")), await driver.create(harness.request("b"))
        assert first.provider_id != second.provider_id

    async def test_rule_1_repeat_after_a_lost_answer_makes_no_second_machine(self, harness: Harness) -> None:
        """What a provider does that was killed between the effect and the answer."""
        request = harness.request()
        await harness.lose_answer("create")
        with suppress(Transient):  # or the driver asked again by itself
            await harness.driver().create(request)
        again = await harness.driver().create(request)
        assert again.token == request.token
        assert await harness.machines(request.token) == 1

    # --- 2: found by token and list from the moment it exists -------------------------------------------------------
    async def test_rule_2_machine_of_a_lost_answer_is_found_by_token_and_list(self, harness: Harness) -> None:
        """With cluster, machine and token on it, by a process that knows nothing but these."""
        request = harness.request()
        await harness.lose_answer("create")
        with suppress(Transient):  # or the driver asked again by itself
            await harness.driver().create(request)
        driver = harness.driver()
        found = await once_consistent(driver, lambda: driver.get(by_token(request)))
        assert (found.cluster, found.machine, found.token) == (request.cluster, request.machine, request.token)
        assert [one.provider_id for one in await listed(driver, harness.cluster, harness.config)] == [found.provider_id]
        assert await listed(driver, harness.cluster, harness.config) == [found]

    async def test_rule_2_answers_agree_on_the_provider_id(self, harness: Harness) -> None:
        """Create, get by either key, and the format that ``resolve`` promised."""
        driver, request = harness.driver(), harness.request()
        offering = await driver.resolve(request.config)
        made = await driver.create(request)
        with_id = await once_consistent(driver, lambda: driver.get(by_id(made, harness.config)))
        with_token = await once_consistent(driver, lambda: driver.get(by_token(request)))
        assert made.provider_id == with_id.provider_id == with_token.provider_id
        if offering.provider_id_format:
            assert made.provider_id == offering.provider_id_format.replace("{token}", request.token)

    # --- 3: NotFound only when the cloud said so --------------------------------------------------------------------
    async def test_rule_3_machine_that_never_was_is_not_found(self, harness: Harness) -> None:
        """The cloud was reached and has none."""
        with pytest.raises(NotFound):
            await harness.driver().get(by_token(harness.request()))

    async def test_rule_3_unreachable_cloud_is_transient_and_never_not_found(self, harness: Harness) -> None:
        """By token and by provider id; the machine is found again afterwards."""
        driver, request = harness.driver(), harness.request()
        made = await driver.create(request)
        async with harness.unreachable():
            for key in (by_token(request), by_id(made, harness.config)):
                with pytest.raises(Transient):
                    await driver.get(key)
        found = await once_consistent(driver, lambda: driver.get(by_id(made, harness.config)))
        assert found.provider_id == made.provider_id

    async def test_rule_3_new_machine_is_seen_within_the_consistency_delay(self, harness: Harness) -> None:
        """What the controllers wait before they believe NotFound is enough."""
        driver, request = harness.driver(), harness.request()
        await driver.create(request)
        await asyncio.sleep(driver.consistency_delay)
        assert (await driver.get(by_token(request))).token == request.token

    # --- 4: gone means gone -----------------------------------------------------------------------------------------
    @pytest.mark.parametrize("known_by", ["provider id", "token"])
    async def test_rule_4_gone_leaves_nothing_that_is_billed(self, harness: Harness, known_by: str) -> None:
        """And asking again, in whatever process, is GONE again."""
        driver, request = harness.driver(), harness.request()
        made = await driver.create(request)
        await once_consistent(driver, lambda: driver.get(by_id(made, harness.config)))
        key = by_id(made, harness.config) if known_by == "provider id" else by_token(request)
        await delete_until_gone(harness, driver, key)
        assert await harness.billed(request.token) == 0
        assert await harness.driver().delete(key) is Deletion.GONE
        with pytest.raises(NotFound):
            await driver.get(key)

    async def test_rule_4_side_resources_go_with_the_machine(self, harness: Harness) -> None:
        """Even where the cloud would leave them."""
        driver, request = harness.driver(), harness.request()
        made = await driver.create(request)
        await once_consistent(driver, lambda: driver.get(by_id(made, harness.config)))
        await harness.leave_side_resource()
        await delete_until_gone(harness, driver, by_id(made, harness.config))
        assert await harness.billed(request.token) == 0

    async def test_rule_4_repeat_after_a_lost_answer_ends_gone(self, harness: Harness) -> None:
        """Delete is idempotent however little is known of the first call."""
        driver, request = harness.driver(), harness.request()
        made = await driver.create(request)
        await once_consistent(driver, lambda: driver.get(by_id(made, harness.config)))
        await harness.lose_answer("delete")
        with suppress(Transient):  # or the driver asked again by itself
            await driver.delete(by_id(made, harness.config))
        await delete_until_gone(harness, harness.driver(), by_id(made, harness.config))
        assert await harness.billed(request.token) == 0

    async def test_rule_4_unreachable_cloud_is_never_gone(self, harness: Harness) -> None:
        """A machine that nobody could ask about may be running."""
        driver, request = harness.driver(), harness.request()
        await driver.create(request)
        async with harness.unreachable():
            with pytest.raises(Transient):
                await driver.delete(by_token(request))
        assert await harness.machines(request.token) == 1

    # --- 5: list is complete and ours -------------------------------------------------------------------------------
    async def test_rule_5_list_is_everything_of_this_cluster_and_nothing_else(self, harness: Harness) -> None:
        """Several machines, another cluster's beside them, and one that is gone."""
        driver, other = harness.driver(), str(uuid.uuid4())
        requests = [harness.request(f"machine-{number}") for number in range(3)]
        made = [await driver.create(request) for request in (*requests, harness.request(cluster=other))]
        for instance in made:
            await once_consistent(driver, lambda instance=instance: driver.get(by_id(instance, harness.config)))  # type: ignore[misc]
        gone = made.pop(0)
        await delete_until_gone(harness, driver, by_id(gone, harness.config))
        foreign = made.pop()
        assert {found.token for found in await listed(driver, harness.cluster, harness.config)} == {
            found.token for found in made
        }
        assert [found.token for found in await listed(driver, other, harness.config)] == [foreign.token]

    async def test_rule_5_other_clusters_machines_are_not_touched(self, harness: Harness) -> None:
        """Not even when somebody knows their provider id."""
        driver, request = harness.driver(), harness.request(cluster=str(uuid.uuid4()))
        made = await driver.create(request)
        await once_consistent(driver, lambda: driver.get(by_id(made, harness.config)))
        trespass = msgspec.structs.replace(by_id(made, harness.config), cluster=harness.cluster)
        with pytest.raises(NotFound):
            await driver.get(trespass)
        await driver.delete(trespass)
        assert await harness.machines(request.token) == 1
        assert (await driver.get(by_id(made, harness.config))).state not in {
            InstanceState.DELETING,
            InstanceState.FAILED,
        }

    # --- 6: the closed set ------------------------------------------------------------------------------------------
    async def test_rule_6_wrong_config_is_invalid_spec_that_names_the_field(self, harness: Harness) -> None:
        """From resolve, and from create, which then makes nothing."""
        driver = harness.driver()
        for config, field in harness.wrong_configs:
            with pytest.raises(InvalidSpec) as resolved:
                await driver.resolve(config)
            request = harness.request()
            with pytest.raises(InvalidSpec) as created:
                await driver.create(with_config(request, config))
            assert (resolved.value.field, created.value.field) == (field, field)
            assert await harness.machines(request.token) == 0

    async def test_rule_6_wrong_credentials_are_unauthorized(self, harness: Harness) -> None:
        """From every method."""
        driver, request = harness.make_driver_with_wrong_credentials(), harness.request()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: driver.create(request),
            lambda: driver.get(by_token(request)),
            lambda: driver.delete(by_token(request)),
            lambda: listed(driver, harness.cluster, harness.config),
        ]
        try:
            for call in calls:
                with pytest.raises(Unauthorized):
                    await call()
        finally:
            await driver.close()
        assert await harness.machines(request.token) == 0

    @pytest.mark.parametrize("error", [InsufficientCapacity, QuotaExceeded, Throttled, Transient])
    async def test_rule_6_refusal_is_the_right_error_of_the_set(
        self, harness: Harness, error: type[DriverError]
    ) -> None:
        """And one that vouches for it has made no machine."""
        driver, request = harness.driver(), harness.request()
        await harness.refuse(error)
        with pytest.raises(DriverError) as refused:
            await driver.create(request)
        assert type(refused.value) is error
        assert refused.value.message
        if error.attempt_failed:
            assert await harness.machines(request.token) == 0
        if isinstance(refused.value, Throttled):
            assert refused.value.retry_after > 0

    # --- 7: asynchronous and cancellable ----------------------------------------------------------------------------
    async def test_rule_7_silent_cloud_blocks_nobody_and_calls_can_be_cancelled(self, harness: Harness) -> None:
        """A driver that blocked the loop would never come to the end of this test: only the loop ends the silence."""
        driver, request = harness.driver(), harness.request()
        async with harness.holding():
            call = asyncio.create_task(driver.create(request))
            for _ in range(5):
                await asyncio.sleep(POLL)
            assert not call.done()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        made = await driver.create(request)
        assert await harness.machines(request.token) == 1
        found = await once_consistent(driver, lambda: driver.get(by_id(made, harness.config)))
        assert found.provider_id == made.provider_id

    async def test_rule_7_closed_driver_leaves_the_machines(self, harness: Harness) -> None:
        """The process ends; the machines do not."""
        driver, request = harness.driver(), harness.request()
        await driver.create(request)
        await driver.close()
        assert await harness.machines(request.token) == 1

    # --- 9: a diagnosis is short and harmless -----------------------------------------------------------------------
    async def test_rule_9_diagnosis_is_short_and_changes_nothing(self, harness: Harness) -> None:
        """It may be empty; of a machine that never was it is empty or NotFound."""
        driver, request = harness.driver(), harness.request()
        made = await driver.create(request)
        said = await once_consistent(driver, lambda: driver.diagnose(by_id(made, harness.config)))
        assert len(said) <= DIAGNOSIS_LIMIT
        with suppress(NotFound):
            assert await driver.diagnose(by_token(harness.request())) == ""
        assert await harness.machines(request.token) == 1

    # --- 8: no secret leaves the driver -----------------------------------------------------------------------------
    async def test_rule_8_no_secret_is_in_what_a_driver_says(
        self, harness: Harness, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither in answers nor in errors nor in log lines of any level, even with everything going wrong."""
        assert harness.secrets
        caplog.set_level(logging.DEBUG)
        request = harness.request()
        driver, wrong = harness.driver(), harness.make_driver_with_wrong_credentials()
        said = [repr(driver), repr(await driver.create(request))]
        for failing in (wrong.create(request), wrong.get(by_token(request)), driver.create(with_config(request, {}))):
            with pytest.raises(DriverError) as refused:
                await failing
            said.append(f"{refused.value!r} {refused.value.message} {refused.value.__cause__!r}")
        async with harness.unreachable():
            with pytest.raises(DriverError) as unreachable:
                await driver.get(by_token(request))
            said.append(repr(unreachable.value))
        await wrong.close()
        text = "\n".join([*said, caplog.text])
        leaked = [number for number, secret in enumerate(harness.secrets) if secret in text]
        assert leaked == []
