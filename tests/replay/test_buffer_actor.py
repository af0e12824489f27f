from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished_groups import finished, problems

from curriculum.sampler import ShuffledSampler
from replay import client as client_module
from replay.actor import BufferActor
from replay.client import BufferClient
from replay.config import ReplayConfig
from replay.group_state import LeasedGroup
from replay.ledger import FILE_NAME

SOON = 30.0

Play = Callable[..., None]


class InThisProcess:
    """Calls an actor's methods as a Ray handle does, without Ray."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, method: str) -> Any:
        class Method:
            remote = staticmethod(getattr(self._actor, method))

        return Method


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs a coroutine function with a client of a buffer with B = 2, η = 0 and short leases."""

    def play(story: Callable[[BufferClient], Awaitable[None]], lease_seconds: float = 600.0) -> None:
        async def main() -> None:
            config = ReplayConfig(max_staleness=0, groups_per_batch=2, lease_seconds=lease_seconds)
            sampler = ShuffledSampler(problems(5), seed=0)
            actor = BufferActor(str(tmp_path), config, sampler, problem_count=2)
            client = BufferClient(InThisProcess(actor))
            try:
                async with asyncio.timeout(SOON):
                    await story(client)
            finally:
                await actor.close()

        asyncio.run(main())

    return play


async def leases_of(client: BufferClient, worker: str, version: int, count: int) -> list[LeasedGroup]:
    await client.loaded(worker, version)
    leases = await client.lease(worker, count, 0.0)
    assert leases is not None
    return leases


async def started(waiting: Awaitable[Any]) -> asyncio.Task[Any]:
    """The call as a task that has gone as far as it can."""
    task = asyncio.ensure_future(waiting)
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    assert isinstance(task, asyncio.Task)
    return task


def test_a_step_that_waits_is_woken_by_the_last_delivery(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        await client.publish(0, "snapshot-0")
        first, second = await leases_of(client, "w", 0, 2)
        step = await started(client.select_batch(0, 1e6))
        assert await client.deliver("w", finished(first))
        assert await client.deliver("w", finished(second))
        summary = await step
        assert (summary.step, summary.groups, summary.completions) == (0, 2, 4)
        batch = await client.batch(0)
        assert [group.id for group in batch.groups] == [0, 1]

    play(story)


def test_a_worker_that_waits_for_leases_is_woken_when_others_give_theirs_back(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        await client.publish(0, "snapshot-0")
        first, second = await leases_of(client, "w", 0, 2)
        await client.loaded("other", 0)
        asking = await started(client.lease("other", 2, 1e6))
        await client.return_lease("w", first.id, "gave up")
        (again,) = await asking
        assert again.problem == first.problem
        asking = await started(client.lease("other", 2, 1e6))
        await client.discard("w", second.id, "too long")
        (next_one,) = await asking
        assert next_one.problem not in (first.problem, second.problem)

    play(story)


def test_a_worker_that_waits_for_leases_is_woken_when_its_engine_has_a_newer_version(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        await client.publish(0, "snapshot-0")
        for lease in await leases_of(client, "w", 0, 2):
            await client.deliver("w", finished(lease))
        asking = await started(client.lease("w", 2, 1e6))
        assert await client.select_batch(0, 0.0)
        await client.publish(1, "snapshot-1")
        await client.loaded("other", 1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not asking.done(), "its own engine still has version 0"
        await client.loaded("w", 1)
        assert [(lease.id, lease.lease_version) for lease in await asking] == [(2, 1), (3, 1)]

    play(story)


def test_workers_that_wait_for_a_version_are_all_woken_and_go_to_the_newest(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        waiting = [await started(client.newest_version(-1, 1e6)) for _ in range(3)]
        await client.publish(0, "snapshot-0")
        assert await asyncio.gather(*waiting) == [(0, "snapshot-0")] * 3
        for lease in await leases_of(client, "w", 0, 2):
            await client.deliver("w", finished(lease))
        assert await client.select_batch(0, 0.0)
        await client.publish(1, "snapshot-1")
        assert await client.newest_version(-1, 0.0) == (1, "snapshot-1")

    play(story)


def test_a_question_is_answered_without_content_when_its_time_is_over(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        for wait_seconds in (0.0, 0.01):
            assert await client.newest_version(-1, wait_seconds) is None
        await client.publish(0, "snapshot-0")
        assert len(await leases_of(client, "w", 0, 2)) == 2
        for wait_seconds in (0.0, 0.01):
            assert await client.lease("w", 1, wait_seconds) == []
            assert await client.select_batch(0, wait_seconds) is None
        assert "0 groups ready of 2 per batch, 2 leased" in await client.waiting()
        assert await client.counts() == ({"leased": 2}, {})

    play(story)


def test_the_leases_of_a_worker_that_hangs_reach_the_next_that_asks(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        await client.publish(0, "snapshot-0")
        hanging = await leases_of(client, "w", 0, 2)
        await client.loaded("other", 0)
        again: list[LeasedGroup] = []
        while len(again) < 2:
            again += await client.lease("other", 2, 0.01) or []
        assert [lease.problem for lease in again] == [lease.problem for lease in hanging]
        assert not await client.deliver("w", finished(hanging[0]))

    play(story, lease_seconds=0.05)


def test_leases_run_out_also_when_only_the_trainer_asks(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        await client.publish(0, "snapshot-0")
        await leases_of(client, "w", 0, 2)
        while (await client.counts())[0] != {"returned": 2}:
            assert await client.select_batch(0, 0.01) is None

    play(story, lease_seconds=0.05)


def test_the_end_of_the_run_reaches_a_worker_that_waits_for_leases(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        await client.publish(0, "snapshot-0")
        lease, unfinished = await leases_of(client, "w", 0, 2)
        await client.loaded("other", 0)
        asking = await started(client.lease("other", 1, 1e6))
        await client.stop_leasing()
        assert await asking is None
        await client.return_lease("w", unfinished.id, "the end")
        assert await client.lease("w", 1, 1e6) is None, "also when there is capacity again"
        assert await client.deliver("w", finished(lease)), "what is finished is kept all the same"

    play(story)


def test_a_worker_that_follows_versions_does_not_spin_after_the_end_of_the_run(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        await client.publish(0, "snapshot-0")
        await client.stop_leasing()
        following = await started(client.newest_version(0, 1e6))
        following.cancel()
        assert await client.newest_version(-1, 0.0) == (0, "snapshot-0")

    play(story)


def test_an_error_of_the_rules_reaches_the_caller_and_the_buffer_serves_on(play: Play) -> None:
    async def story(client: BufferClient) -> None:
        with pytest.raises(ValueError, match="before it has reported a loaded version"):
            await client.lease("w", 1, 1e6)
        await client.loaded("w", 0)
        with pytest.raises(ValueError, match="-1 is the newest"):
            await client.lease("w", 1, 1e6)
        with pytest.raises(ValueError, match="-1 is the newest"):
            await client.select_batch(0, 1e6)
        with pytest.raises(KeyError):
            await client.batch(0)
        await client.publish(0, "snapshot-0")
        assert len(await leases_of(client, "w", 0, 2)) == 2

    play(story)


def test_times_in_the_ledger_can_be_read_by_a_person(play: Play, tmp_path: Path) -> None:
    before = time.time()

    async def story(client: BufferClient) -> None:
        await client.publish(0, "snapshot-0")

    play(story)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as reader:
        (published_at,) = reader.execute("SELECT published_at FROM versions").fetchone()
    assert before - 60 < published_at < before + 3600


def test_a_buffer_that_never_answers_is_an_error_with_the_name_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        async def deliver(self, *arguments: Any) -> None:
            await asyncio.Event().wait()

        async def lease(self, *arguments: Any) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.01)

    async def main() -> None:
        client = BufferClient(InThisProcess(Deaf()))
        lease = LeasedGroup(0, problems(1)[0], "w", 0, 0.0)
        with pytest.raises(TimeoutError, match=r"the replay buffer did not answer deliver within 0\.01 seconds"):
            await client.deliver("w", finished(lease))
        with pytest.raises(TimeoutError, match=r"the replay buffer did not answer lease within 0\.03 seconds"):
            await client.lease("w", 1, wait_seconds=0.02)

    asyncio.run(main())
