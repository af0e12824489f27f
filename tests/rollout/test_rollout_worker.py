"""A rollout worker keeps to its room, gives back what it cannot finish, and ends with the run or with its error."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from curriculum.sampler import ShuffledSampler
from replay.actor import BufferActor
from replay.client import BufferClient
from replay.config import ReplayConfig
from replay.ledger import FILE_NAME
from replay.records import Completion, FinishReason, Grade, Outcome, Problem, VersionSpan
from rewards.config import RewardsConfig
from rollout import worker as worker_module
from rollout.config import EngineConfig, RolloutConfig, SamplingConfig
from rollout.worker import PromptSettings, RolloutStatistics, RolloutWorker
from tests.ray_handle import Handle
from weight_sync.config import WeightSyncConfig

SOON = 30.0
TOKENS = 3
LONG = "a prompt that is too long"


def completion(version: int) -> Completion:
    return Completion(
        token_ids=np.arange(TOKENS, dtype=np.int32),
        logprobs=np.zeros(TOKENS, dtype=np.float32),
        version_spans=(VersionSpan(version, 0, TOKENS),),
        finish_reason=FinishReason.STOP,
        loss_mask=np.ones(TOKENS, dtype=np.bool_),
        text="four",
    )


class Engine:
    """Stands for vLLM: counts the groups it writes at once; `write` is what a test makes of writing one."""

    def __init__(self, *arguments: Any) -> None:
        self.version = -1
        self.running = 0
        self.most_running = 0
        self.prompts: list[list[int]] = []
        self.seeds: list[int | None] = []
        self.loads: list[tuple[int, str]] = []
        self.cancelled = 0
        self.is_shut_down = False

    @staticmethod
    def tokenizer(text: str) -> SimpleNamespace:
        return SimpleNamespace(input_ids=list(text.encode()))

    async def write(self, number: int) -> None:
        """Group `number`, counted from 0 in the order of asking."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def generate(
        self, prompt_token_ids: NDArray[np.int32], n: int, sampling: SamplingConfig, seed: int | None = None
    ) -> list[Completion]:
        self.prompts.append(prompt_token_ids.tolist())
        self.seeds.append(seed)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.write(len(self.prompts) - 1)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return [completion(self.version) for _ in range(n)]

    async def load(self, version: int, snapshot: str) -> float:
        self.loads.append((version, snapshot))
        self.version = version
        return 0.25

    def shutdown(self) -> None:
        self.is_shut_down = True


class Graders:
    """Stands for the grader pool, without processes."""

    def __init__(self, config: RewardsConfig) -> None:
        self.is_closed = False

    def start(self) -> None:
        if self.is_closed:
            raise RuntimeError("closed")

    async def grade(self, problem: Problem, completions: Sequence[Completion]) -> tuple[Grade, ...]:
        return tuple(Grade(Outcome.CORRECT, 1.0) for _ in completions)

    def close(self) -> None:
        self.is_closed = True


class Scene:
    """One worker beside a real buffer."""

    def __init__(
        self, worker: RolloutWorker, engine: Engine, graders: Graders, handle: Handle, run_dir: Path
    ) -> None:
        self.worker = worker
        self.engine = engine
        self.graders = graders
        self.handle = handle
        self.buffer = BufferClient(handle)
        self._run_dir = run_dir

    def start_run(self) -> asyncio.Task[None]:
        self.running = asyncio.create_task(self.worker.run(self.handle))
        return self.running

    async def train(self, step: int) -> None:
        """Wait for the batch of a step and publish the version that it makes."""
        batch = asyncio.create_task(self.buffer.select_batch(step, SOON))
        await asyncio.wait({batch, self.running}, return_when=asyncio.FIRST_COMPLETED)
        if not batch.done():
            batch.cancel()
            await self.running
        assert await batch is not None
        await self.buffer.publish(step + 1, f"snapshot-{step + 1}")

    async def finish(self) -> None:
        """End the run when the newest version is in place and nothing is being written."""
        newest = await self.buffer.newest_version(-1, 0.0)
        assert newest is not None
        await self.until(lambda: (self.engine.version, self.engine.running) == (newest[0], 0))
        await self.buffer.stop_leasing()
        await self.running

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.001)

    def groups(self, state: str) -> list[tuple[str, str]]:
        """Prompt and reason of every group in a state."""
        with closing(sqlite3.connect(f"file:{self._run_dir / FILE_NAME}?mode=ro", uri=True)) as reader:
            return reader.execute(
                "SELECT prompt, reason FROM groups JOIN problems ON problem_id = problems.id WHERE state = ? "
                "ORDER BY groups.id",
                (state,),
            ).fetchall()


Play = Callable[..., None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs a story with a worker that has started, and a buffer that has version 0."""

    def play(
        story: Callable[[Scene], Awaitable[None]],
        engine: type[Engine] = Engine,
        graders: type[Graders] = Graders,
        prompts: Sequence[str] = tuple("abcdefgh"),
        groups_per_batch: int = 4,
        max_staleness: int = 0,
        seed_requests: bool = False,
        **rollout: Any,
    ) -> None:
        async def main() -> None:
            monkeypatch.setattr(worker_module, "Engine", engine)
            monkeypatch.setattr(worker_module, "GraderPool", graders)
            problems = [Problem(f"test/{number}", "test", prompt) for number, prompt in enumerate(prompts)]
            actor = BufferActor(
                str(tmp_path),
                ReplayConfig(max_staleness=max_staleness, groups_per_batch=groups_per_batch),
                ShuffledSampler(problems, seed=0),
                len(problems),
            )
            settings: dict[str, Any] = {"completions_per_group": 2, "max_concurrent_groups": 3, **rollout}
            worker: Any = RolloutWorker(
                "w",
                "model",
                RolloutConfig(
                    sampling=SamplingConfig(max_tokens=TOKENS, seed_requests=seed_requests),
                    engine=EngineConfig(max_model_len=64),
                    **settings,
                ),
                PromptSettings(chat_template=False, system_prompt=None, max_prompt_tokens=8),
                RewardsConfig(),
                WeightSyncConfig(),
            )
            try:
                async with asyncio.timeout(SOON):
                    await worker.start()
                    scene = Scene(worker, worker._engine, worker._graders, Handle(actor), tmp_path)
                    await scene.buffer.publish(0, "snapshot-0")
                    await story(scene)
            finally:
                await actor.close()

        asyncio.run(main())

    return play


def test_the_room_is_never_exceeded_and_is_used_to_the_full(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        await scene.train(1)
        assert scene.engine.most_running == 3
        await scene.finish()

    play(story, groups_per_batch=12)


def test_an_evaluation_keeps_to_the_same_room(play: Play) -> None:
    async def story(scene: Scene) -> None:
        questions = [Problem(f"held out/{number}", "test", "q") for number in range(10)]
        grades = await scene.worker.evaluate(questions, 4, SamplingConfig(max_tokens=TOKENS))
        assert [len(of_one) for of_one in grades] == [4] * 10
        assert scene.engine.most_running == 3
        assert await scene.buffer.counts() == ({}, {}), "nothing of it reaches the buffer"

    play(story)


def test_a_group_that_takes_too_long_is_given_back_and_asked_again(play: Play) -> None:
    class StuckOnce(Engine):
        async def write(self, number: int) -> None:
            if number == 0:
                await asyncio.Event().wait()

    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        ((prompt, reason),) = scene.groups("returned")
        assert reason == "request_timeout_seconds passed"
        assert [bytes(asked).decode() for asked in scene.engine.prompts[:2]] == [prompt, prompt]
        assert scene.engine.cancelled == 1, "the engine is told to stop writing it"
        await scene.finish()

    # With room for one only, a slot that is lost stops everything.
    play(story, engine=StuckOnce, max_concurrent_groups=1, request_timeout_seconds=0.2)


def test_a_prompt_that_is_too_long_is_discarded_with_the_reason_and_never_reaches_the_engine(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        prompt, reason = scene.groups("discarded")[0]
        assert prompt == LONG
        assert "25 tokens, more than curriculum.max_prompt_tokens: 8" in reason
        assert {bytes(asked).decode() for asked in scene.engine.prompts} == {"a", "b"}
        await scene.finish()

    # Two epochs are needed for a batch, so the long prompt is met; a slot that it keeps stops everything.
    play(story, prompts=["a", LONG, "b"], max_concurrent_groups=1)


def test_the_end_of_the_run_cancels_what_is_left(play: Play) -> None:
    class Stuck(Engine):
        async def write(self, number: int) -> None:
            await asyncio.Event().wait()

    async def story(scene: Scene) -> None:
        running = scene.start_run()
        await scene.until(lambda: scene.engine.running == 2)
        await scene.buffer.stop_leasing()
        await running
        assert (scene.engine.cancelled, scene.engine.running) == (2, 0)
        assert len(scene.groups("leased")) == 2

    play(story, engine=Stuck, groups_per_batch=2)


def test_the_room_is_free_again_after_the_run_for_the_last_evaluation(play: Play) -> None:
    class StuckTwice(Engine):
        async def write(self, number: int) -> None:
            if number < 2:
                await asyncio.Event().wait()
            await super().write(number)

    async def story(scene: Scene) -> None:
        running = scene.start_run()
        await scene.until(lambda: scene.engine.running == 2)
        await scene.buffer.stop_leasing()
        await running
        questions = [Problem(f"held out/{number}", "test", "q") for number in range(6)]
        scene.engine.most_running = 0
        await scene.worker.evaluate(questions, 1, SamplingConfig(max_tokens=TOKENS))
        assert scene.engine.most_running == 3

    play(story, engine=StuckTwice, groups_per_batch=2)


def test_an_error_of_the_engine_ends_the_run_with_this_error_and_stops_the_other_groups(play: Play) -> None:
    class Dying(Engine):
        async def write(self, number: int) -> None:
            if number == 2:
                raise RuntimeError("the engine is dead")
            await asyncio.Event().wait()

    async def story(scene: Scene) -> None:
        with pytest.raises(RuntimeError, match="the engine is dead"):
            await scene.start_run()
        assert (scene.engine.cancelled, scene.engine.running) == (2, 0)

    play(story, engine=Dying)


def test_an_error_of_the_graders_ends_the_run_with_this_error(play: Play) -> None:
    class Closed(Graders):
        async def grade(self, problem: Problem, completions: Sequence[Completion]) -> tuple[Grade, ...]:
            raise RuntimeError("the grader pool is closed")

    async def story(scene: Scene) -> None:
        with pytest.raises(RuntimeError, match="the grader pool is closed"):
            await scene.start_run()

    play(story, graders=Closed)


def test_an_update_that_fails_ends_the_run_with_its_error(play: Play) -> None:
    class Unloadable(Engine):
        async def load(self, version: int, snapshot: str) -> float:
            if version == 1:
                raise ValueError("snapshot-1 holds version 7, expected 1")
            return await super().load(version, snapshot)

    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        with pytest.raises(ValueError, match="holds version 7, expected 1"):
            await scene.running

    play(story, engine=Unloadable)


def test_a_buffer_that_refuses_a_group_ends_the_run_with_its_error(play: Play) -> None:
    class FromTheFuture(Engine):
        async def generate(self, *arguments: Any) -> list[Completion]:
            return [completion(self.version + 1) for _ in range(2)]

    async def story(scene: Scene) -> None:
        with pytest.raises(ValueError, match="0 is the newest published"):
            await scene.start_run()

    play(story, engine=FromTheFuture)


def test_nothing_is_written_before_the_first_version_is_in_place(play: Play) -> None:
    class Watched(Engine):
        async def write(self, number: int) -> None:
            assert self.version >= 0

    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        assert scene.engine.loads[0] == (0, "snapshot-0")
        await scene.finish()

    play(story, engine=Watched)


def test_a_new_version_is_loaded_while_groups_are_written_and_told_to_the_buffer(play: Play) -> None:
    class Slow(Engine):
        """The last group that version 0 admits is still being written when version 1 is there."""

        updated = asyncio.Event()

        async def load(self, version: int, snapshot: str) -> float:
            if version == 1:
                self.updated.set()
            return await super().load(version, snapshot)

        async def write(self, number: int) -> None:
            if number == 7:
                await self.updated.wait()

    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        await scene.train(1)
        assert scene.engine.loads[:2] == [(0, "snapshot-0"), (1, "snapshot-1")]
        statistics = await scene.worker.statistics()
        assert statistics.weight_updates == len(scene.engine.loads)
        await scene.finish()

    play(story, engine=Slow, max_staleness=1)


def test_a_snapshot_that_is_gone_is_skipped_for_the_next_version(play: Play) -> None:
    class Late(Engine):
        async def load(self, version: int, snapshot: str) -> float:
            if version == 1:
                await self.gone.wait()
                raise FileNotFoundError(snapshot)
            return await super().load(version, snapshot)

        gone = asyncio.Event()

    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        await scene.train(1)
        Late.gone.set()
        await scene.train(2)
        assert scene.engine.loads[:2] == [(0, "snapshot-0"), (2, "snapshot-2")]
        await scene.finish()

    play(story, engine=Late, max_staleness=1)


def test_a_snapshot_on_another_host_is_an_error_instead_of_a_loop(play: Play) -> None:
    class Elsewhere(Engine):
        async def load(self, version: int, snapshot: str) -> float:
            if version == 1:
                raise FileNotFoundError(snapshot)
            return await super().load(version, snapshot)

    async def story(scene: Scene) -> None:
        running = scene.start_run()
        await scene.train(0)
        with pytest.raises(RuntimeError, match="snapshot-1 is not on this host"):
            await running

    play(story, engine=Elsewhere)


def test_a_group_that_comes_after_its_lease_was_lost_is_dropped_and_the_work_goes_on(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    class SlowOnce(Engine):
        go_on = asyncio.Event()

        async def write(self, number: int) -> None:
            if number == 0:
                await self.go_on.wait()

    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.until(lambda: len(scene.groups("ready")) == 3)
        assert await scene.handle.return_leases.remote("w", "taken for dead") == 1
        await scene.train(0)
        SlowOnce.go_on.set()
        await scene.train(1)
        assert [reason for _, reason in scene.groups("returned")] == ["taken for dead"]
        assert len(scene.groups("trained")) == 8
        await scene.finish()

    play(story, engine=SlowOnce)
    warnings = [record.getMessage() for record in caplog.records if record.name == "rollout.worker"]
    assert warnings == ["group 0 came after its lease was lost and was dropped"]


@pytest.mark.parametrize("rollout_seed", [0, 5])
def test_no_two_completions_of_a_run_share_a_seed(play: Play, rollout_seed: int) -> None:
    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        first_seeds = [seed for seed in scene.engine.seeds if seed is not None]
        assert len(first_seeds) == 12
        every = [seed + place for seed in first_seeds for place in range(2)]
        assert len(set(every)) == 24
        await scene.finish()

    play(story, groups_per_batch=12, seed_requests=True, seed=rollout_seed)


def test_requests_have_no_seed_unless_they_are_to(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.start_run()
        await scene.train(0)
        assert set(scene.engine.seeds) == {None}
        await scene.finish()

    play(story)


def test_statistics_count_what_was_written(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.start_run()
        assert await scene.buffer.select_batch(0, SOON) is not None
        assert await scene.worker.statistics() == RolloutStatistics(4 * 2 * TOKENS, 4, 1, 0.25)
        await scene.finish()

    play(story)


def test_graders_that_do_not_start_are_an_error_of_the_start_and_stop_ends_both(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Graders):
        def start(self) -> None:
            raise RuntimeError("rewards.grader='x' does not start")

    async def main() -> None:
        worker: Any = RolloutWorker(
            "w",
            "model",
            RolloutConfig(
                completions_per_group=2,
                max_concurrent_groups=3,
                sampling=SamplingConfig(max_tokens=TOKENS),
                engine=EngineConfig(max_model_len=64),
            ),
            PromptSettings(False, None, 8),
            RewardsConfig(),
            WeightSyncConfig(),
        )
        await worker.stop()
        with pytest.raises(RuntimeError, match="does not start"):
            await worker.start()
        await worker.stop()
        assert worker._engine.is_shut_down
        assert worker._graders.is_closed

    monkeypatch.setattr(worker_module, "Engine", Engine)
    monkeypatch.setattr(worker_module, "GraderPool", Broken)
    asyncio.run(main())


@pytest.mark.timeout(60)
class TestTheEndComesAtABadMoment:
    """The last version is published right before the end, so both are on their way to the worker together."""

    def test_while_the_last_version_arrives(self, play: Play) -> None:
        async def story(scene: Scene) -> None:
            running = scene.start_run()
            await scene.train(0)
            await scene.buffer.stop_leasing()
            await running

        play(story)

    def test_while_the_last_version_is_being_loaded(self, play: Play) -> None:
        class Interruptible(Engine):
            interrupted = False

            async def load(self, version: int, snapshot: str) -> float:
                if version == 1:
                    self.loads.append((version, "begun"))
                    try:
                        await asyncio.sleep(0.2)
                    except asyncio.CancelledError:
                        Interruptible.interrupted = True
                        raise
                return await super().load(version, snapshot)

        async def story(scene: Scene) -> None:
            running = scene.start_run()
            await scene.train(0)
            await scene.until(lambda: (1, "begun") in scene.engine.loads)
            await scene.buffer.stop_leasing()
            await running
            # vLLM would refuse the next update, and with it the evaluation after the run.
            assert not Interruptible.interrupted
            assert await scene.worker.load_newest(scene.handle, 1) == 1

        play(story, engine=Interruptible)

    def test_while_there_is_no_room(self, play: Play) -> None:
        class Stuck(Engine):
            async def write(self, number: int) -> None:
                await asyncio.Event().wait()

        async def story(scene: Scene) -> None:
            running = scene.start_run()
            await scene.until(lambda: scene.engine.running == 3)
            await scene.buffer.stop_leasing()
            await running
            assert scene.engine.cancelled == 3

        play(story, engine=Stuck)
