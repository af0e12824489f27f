"""The loop of steps: every version is published once, and nothing that dies or hangs is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from curriculum.sampler import ShuffledSampler
from inflight.compose import compose
from inflight.config import Config
from inflight.failures import RunFailedError
from inflight.summary import RunSummary
from inflight.training_loop import TrainingLoop
from replay.actor import BufferActor
from replay.batch_summary import BatchSummary
from replay.client import BufferClient
from replay.records import Problem
from rollout.worker import RolloutStatistics
from tests.ray_handle import Handle

SOON = 30.0

BATCH = BatchSummary(
    step=0,
    groups=4,
    completions=8,
    tokens=200,
    score_mean=0.5,
    pass_rate=0.25,
    staleness_sum=100,
    staleness_max=2,
    completions_spanning_versions=3,
    groups_without_signal=1,
    truncated=2,
    outcomes={"correct": 2, "wrong": 6},
)


class Run:
    """What happens, in order, and what each part does; a test puts something else in the place of a part."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.over = asyncio.Event()
        self.reports: list[tuple[int, Mapping[str, float]]] = []
        self.ended_workers: list[str] = []
        self.summary = RunSummary(0.0)


class Rank:
    """A trainer rank: counts versions."""

    def __init__(self, run: Run, number: int = 0) -> None:
        self.run = run
        self.number = number
        self.version = 0

    async def publish(self) -> tuple[int, str, float]:
        self.run.events.append(f"rank {self.number} writes {self.version}")
        return self.version, "" if self.number else f"snapshot-{self.version}", 0.25

    async def train(self, batch: Awaitable[str]) -> dict[str, float]:
        self.run.events.append(f"rank {self.number} trains {await batch}")
        self.version += 1
        return {"loss": 0.125}

    async def save(self, parent: str) -> tuple[int, str]:
        self.run.events.append(f"rank {self.number} saves step-{self.version}")
        return self.version, f"{parent}/step-{self.version}"


class Worker:
    """A rollout worker: works until the run is over."""

    def __init__(self, run: Run, name: str = "rollout-0") -> None:
        self.run_state = run
        self.name = name
        self.asked = 0

    async def run(self, buffer: Any) -> None:
        try:
            await self.run_state.over.wait()
        finally:
            self.run_state.ended_workers.append(self.name)

    async def statistics(self) -> RolloutStatistics:
        self.asked += 1
        return RolloutStatistics(1000 * self.asked, 0, 7 * self.asked, 0.5 * self.asked)


class Buffer:
    """Stands for the client of a buffer that always has a batch."""

    def __init__(self, run: Run) -> None:
        self.run = run

    async def publish(self, version: int, snapshot: str) -> None:
        self.run.events.append(f"buffer has {version} in {snapshot}")

    async def select_batch(self, step: int, wait_seconds: float) -> BatchSummary | None:
        self.run.events.append(f"batch {step}")
        return BATCH

    def batch_reference(self, step: int) -> Any:
        async def batch() -> str:
            return f"batch {step}"

        return asyncio.ensure_future(batch())

    async def stop_leasing(self) -> None:
        self.run.events.append("no more leases")
        self.run.over.set()


class Actors:
    def __init__(self, ranks: list[Any], rollouts: list[Any], buffer: Any = None) -> None:
        self.ranks = [Handle(rank) for rank in ranks]
        self.rollouts = [Handle(worker) for worker in rollouts]
        self.buffer = buffer


@cache
def config(*overrides: str) -> Config:
    return compose(["experiment=quickstart", "trainer.steps=2", *overrides])


def loop_of(
    run: Run,
    tmp_path: Path,
    *overrides: str,
    ranks: list[Any] | None = None,
    workers: list[Any] | None = None,
    buffer: Any = None,
) -> TrainingLoop:
    actors: Any = Actors(
        ranks if ranks is not None else [Rank(run)], workers if workers is not None else [Worker(run)]
    )
    client: Any = buffer if buffer is not None else Buffer(run)

    def report(step: int, metrics: Mapping[str, float]) -> None:
        run.reports.append((step, metrics))

    return TrainingLoop(config(*overrides), actors, client, run.summary, report, tmp_path)


def play(story: Callable[[Run], Awaitable[None]]) -> None:
    """Run a story; whatever it started and did not end fails it."""

    async def main() -> None:
        async with asyncio.timeout(SOON):
            await story(Run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still waiting: {left}"

    asyncio.run(main())


def test_every_version_is_published_once_and_in_order(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        loop = loop_of(run, tmp_path)
        await loop.publish()
        await loop.run()
        assert run.events == [
            "rank 0 writes 0",
            "buffer has 0 in snapshot-0",
            "batch 0",
            "rank 0 trains batch 0",
            "rank 0 writes 1",
            "buffer has 1 in snapshot-1",
            "batch 1",
            "rank 0 trains batch 1",
            "rank 0 writes 2",
            "buffer has 2 in snapshot-2",
            "no more leases",
        ]
        assert loop.version == 2

    play(story)


def test_all_ranks_take_part_and_the_snapshot_is_that_of_the_first(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        loop = loop_of(run, tmp_path, "trainer.steps=1", ranks=[Rank(run, 0), Rank(run, 1)])
        await loop.run()
        await loop.save()
        assert sorted(run.events[1:5]) == [
            "rank 0 trains batch 0",
            "rank 0 writes 1",
            "rank 1 trains batch 0",
            "rank 1 writes 1",
        ]
        assert run.events[5:] == [
            "buffer has 1 in snapshot-1",
            "no more leases",
            "rank 0 saves step-1",
            "rank 1 saves step-1",
        ]

    play(story)


def test_the_run_is_over_only_when_every_worker_has_ended(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        workers = [Worker(run, "rollout-0"), Worker(run, "rollout-1")]
        await loop_of(run, tmp_path, workers=workers).run()
        assert sorted(run.ended_workers) == ["rollout-0", "rollout-1"]

    play(story)


def test_a_worker_that_dies_ends_the_wait_for_a_batch_with_its_error(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        waiting = asyncio.Event()

        class Empty(Buffer):
            async def select_batch(self, step: int, wait_seconds: float) -> None:
                waiting.set()
                await asyncio.Event().wait()

        class Dying(Worker):
            async def run(self, buffer: Any) -> None:
                await waiting.wait()
                raise RuntimeError("the engine's process was killed")

        loop = loop_of(run, tmp_path, workers=[Worker(run), Dying(run)], buffer=Empty(run))
        with pytest.raises(
            RunFailedError, match=r"a rollout worker ended during batch 0: .*the engine's process was killed"
        ):
            await loop.run()

    play(story)


def test_a_worker_that_dies_ends_a_training_step_that_hangs(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        training = asyncio.Event()

        class Hanging(Rank):
            async def train(self, batch: Awaitable[str]) -> dict[str, float]:
                training.set()
                await asyncio.Event().wait()
                return {}

        class Dying(Worker):
            async def run(self, buffer: Any) -> None:
                await training.wait()
                raise RuntimeError("out of memory")

        loop = loop_of(run, tmp_path, ranks=[Hanging(run)], workers=[Dying(run)])
        with pytest.raises(RunFailedError, match=r"ended during training step 0: .*out of memory"):
            await loop.run()

    play(story)


def test_a_worker_that_believes_the_run_to_be_over_ends_it(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        class Early(Worker):
            async def run(self, buffer: Any) -> None:
                return

        class Empty(Buffer):
            async def select_batch(self, step: int, wait_seconds: float) -> None:
                await asyncio.Event().wait()

        with pytest.raises(RunFailedError, match="a rollout worker ended during"):
            await loop_of(run, tmp_path, workers=[Early(run)], buffer=Empty(run)).run()

    play(story)


def test_a_batch_that_never_comes_ends_the_run_with_what_the_buffer_has_in_hand(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        settings = config()
        problems = [Problem(f"test/{number}", "test", "?") for number in range(8)]
        actor = BufferActor(str(tmp_path), settings.replay, ShuffledSampler(problems, seed=0), len(problems))
        client = BufferClient(Handle(actor))

        class Slow(Worker):
            async def run(self, buffer: Any) -> None:
                await client.loaded(self.name, 0)
                await client.lease(self.name, 3, 0.0)
                await asyncio.Event().wait()

        try:
            loop = loop_of(run, tmp_path, "trainer.batch_timeout_seconds=0.2", workers=[Slow(run)], buffer=client)
            await loop.publish()
            with pytest.raises(
                RunFailedError,
                match=r"no batch for step 0 within trainer\.batch_timeout_seconds 0\.2: version 0, 0 groups ready "
                r"of 16 per batch, 3 leased",
            ):
                await loop.run()
        finally:
            await actor.close()

    play(story)


def test_the_buffer_is_not_asked_to_wait_longer_than_the_bound_on_a_batch(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        waits: list[float] = []

        class Empty(Buffer):
            async def select_batch(self, step: int, wait_seconds: float) -> None:
                waits.append(wait_seconds)
                await asyncio.sleep(0.05)

            async def waiting(self) -> str:
                return "nothing in hand"

        with pytest.raises(RunFailedError, match="nothing in hand"):
            await loop_of(run, tmp_path, "trainer.batch_timeout_seconds=0.2", buffer=Empty(run)).run()
        assert 0 < min(waits) <= max(waits) <= 0.2

    play(story)


@pytest.mark.parametrize(
    ("hangs", "override", "message"),
    [
        ("train", "trainer.step_timeout_seconds=0.5", "training step 0 took longer than 0.5 seconds"),
        ("publish", "weight_sync.timeout_seconds=0.5", "publishing the weights took longer than 0.5 seconds"),
        ("save", "trainer.step_timeout_seconds=0.5", "saving a checkpoint took longer than 0.5 seconds"),
    ],
)
def test_a_rank_that_hangs_is_not_waited_for(hangs: str, override: str, message: str, tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        async def hang(*arguments: Any) -> None:
            await asyncio.Event().wait()

        rank = Rank(run)
        setattr(rank, hangs, hang)
        with pytest.raises(RunFailedError, match=message):
            await loop_of(run, tmp_path, override, "trainer.save_every=1", ranks=[rank]).run()

    play(story)


def test_a_worker_that_does_not_end_with_the_run_is_not_waited_for(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        class Deaf(Worker):
            async def run(self, buffer: Any) -> None:
                await asyncio.Event().wait()

        loop = loop_of(run, tmp_path, "rollout.request_timeout_seconds=0.5", workers=[Deaf(run)])
        with pytest.raises(RunFailedError, match=r"the end of the rollouts took longer than 0\.5 seconds"):
            await loop.run()

    play(story)


def test_an_error_of_a_training_step_reaches_the_caller_and_ends_the_wait_for_the_workers(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        class Exploding(Rank):
            async def train(self, batch: Awaitable[str]) -> dict[str, float]:
                raise FloatingPointError("optimizer step 0 has the gradient norm nan")

        with pytest.raises(FloatingPointError, match="gradient norm nan"):
            await loop_of(run, tmp_path, ranks=[Exploding(run)]).run()
        assert "rank 0 writes 1" not in run.events

    play(story)


def test_checkpoints_are_named_after_the_version_they_hold_and_the_last_is_reported(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        loop = loop_of(run, tmp_path, "trainer.steps=5", "trainer.save_every=2")
        await loop.run()
        saves = [(event, run.events[place - 1]) for place, event in enumerate(run.events) if "saves" in event]
        assert saves == [
            ("rank 0 saves step-2", "buffer has 2 in snapshot-2"),
            ("rank 0 saves step-4", "buffer has 4 in snapshot-4"),
        ]
        assert run.summary.checkpoint == str(tmp_path / "checkpoints" / "step-4")
        assert await loop.save() == tmp_path / "checkpoints" / "step-5"
        assert run.summary.checkpoint == str(tmp_path / "checkpoints" / "step-5")

    play(story)


def test_a_report_counts_what_happened_since_the_last_one(tmp_path: Path) -> None:
    async def story(run: Run) -> None:
        await loop_of(run, tmp_path, workers=[Worker(run), Worker(run)]).run()
        assert [step for step, _ in run.reports] == [1, 2]
        for _, metrics in run.reports:
            expected = {
                "train/loss": 0.125,
                "reward/mean": 0.5,
                "reward/pass_rate": 0.25,
                "reward/groups_without_signal_share": 0.25,
                "staleness/mean": 0.5,
                "staleness/max": 2,
                "staleness/completions_spanning_versions": 3,
                "completions/length_mean": 25.0,
                "completions/truncated_share": 0.25,
                "weight_sync/updates": 14,
                "weight_sync/pause_seconds": 1.0,
                "grades/correct": 2,
                "grades/wrong": 6,
                "time/publish_seconds": 0.25,
            }
            assert {name: metrics[name] for name in expected} == expected
            seconds = metrics["time/step_seconds"]
            assert metrics["throughput/trained_tokens_per_second"] == pytest.approx(200 / seconds)
            assert metrics["throughput/generated_tokens_per_second"] == pytest.approx(2000 / seconds)
        assert (run.summary.values()["steps"], run.summary.values()["generated_tokens"]) == (2, 6000)

    play(story)
