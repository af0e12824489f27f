"""A rollout worker as a Ray actor: leases problems, writes and grades completions, delivers groups."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from replay.client import BufferClient
from replay.group_state import LeasedGroup
from replay.records import Grade, Group, Problem
from rewards.config import RewardsConfig
from rewards.pool import GraderPool
from rollout.config import RolloutConfig, SamplingConfig
from rollout.engine import Engine
from rollout.prompts import PromptEncoder, PromptTooLongError
from weight_sync.config import WeightSyncConfig

logger = logging.getLogger(__name__)

# How long one question to the buffer may wait there before it is asked anew.
WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How problems are put to the model; see `rollout.prompts.PromptEncoder`."""

    chat_template: bool
    system_prompt: str | None
    max_prompt_tokens: int


@dataclass(frozen=True, slots=True)
class RolloutStatistics:
    """Totals of one worker since its start."""

    generated_tokens: int
    generated_groups: int
    weight_updates: int
    pause_seconds: float


def group_seed(config: RolloutConfig, group_id: int) -> int:
    """Seed of a group's first completion; the following ones count up, and no two groups share one."""
    return (config.seed * 1_000_003 + group_id) * config.completions_per_group


class RolloutWorker:
    """Keeps its engine full and its weights new, until the buffer says that the run is over.

    Two loops run beside each other on the actor's event loop. One asks for leases whenever there is room
    and starts a task for each; the other waits for versions and loads the newest one. Neither waits for the
    other, and neither talks to the trainer.

    Made into an actor by the run with `ray.remote(RolloutWorker)`.
    """

    def __init__(
        self,
        name: str,
        model_path: str,
        config: RolloutConfig,
        prompts: PromptSettings,
        rewards: RewardsConfig,
        weight_sync: WeightSyncConfig,
    ) -> None:
        self._name = name
        self._model_path = model_path
        self._config = config
        self._prompts = prompts
        self._rewards = rewards
        self._weight_sync = weight_sync
        self._engine: Engine | None = None
        self._graders: GraderPool | None = None
        self._room = asyncio.Semaphore(config.max_concurrent_groups)
        self._working: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Lock()
        self._generated_tokens = 0
        self._generated_groups = 0
        self._weight_updates = 0
        self._pause_seconds = 0.0

    async def start(self) -> None:
        """Start the graders and the engine.

        Raises:
            RuntimeError: if either does not come up.
        """
        self._graders = GraderPool(self._rewards)
        graders = asyncio.create_task(asyncio.to_thread(self._graders.start))
        # AsyncLLM belongs to the event loop it is made on and blocks it while its process starts.
        self._engine = Engine(self._model_path, self._config, self._weight_sync)
        await graders
        self._encoder = PromptEncoder(
            self._engine.tokenizer,
            chat_template=self._prompts.chat_template,
            system_prompt=self._prompts.system_prompt,
            max_prompt_tokens=self._prompts.max_prompt_tokens,
        )

    async def load_newest(self, buffer: Any, at_least: int = 0) -> int:
        """Load the newest version, waiting until `at_least` is published; the version then in place."""
        client = BufferClient(buffer)
        while self._started_engine.version < at_least:
            await self._follow(client)
        return self._started_engine.version

    async def run(self, buffer: Any) -> None:
        """Produce groups until the run is over.

        Raises:
            Exception: whatever ended one of the loops or tasks; the leases in hand are lost then.
        """
        client = BufferClient(buffer)
        await self.load_newest(buffer)
        try:
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._follow_versions(client))
                leasing = tasks.create_task(self._lease_groups(client, tasks))
                # Asked for by itself, since both loops may be waiting for something else: room, or a version.
                while not await client.is_over(WAIT_SECONDS):
                    pass
                leasing.cancel()
                for group in tuple(self._working):
                    group.cancel()
                # An update that has begun is brought to its end, or the engine would refuse the next one.
                async with self._loading:
                    following.cancel()
        except BaseExceptionGroup as errors:
            # Ray shows one cause; the others are cancellations or follow from it.
            raise errors.exceptions[0] from errors

    async def evaluate(
        self, problems: Sequence[Problem], n: int, sampling: SamplingConfig
    ) -> list[tuple[Grade, ...]]:
        """n graded answers to each problem under the weights in place; nothing reaches the buffer."""

        async def answer(problem: Problem) -> tuple[Grade, ...]:
            async with self._room:
                completions = await self._started_engine.generate(self._encoder.encode(problem), n, sampling)
                return await self._started_graders.grade(problem, completions)

        return list(await asyncio.gather(*(answer(problem) for problem in problems)))

    async def statistics(self) -> RolloutStatistics:
        """Totals so far; callable at any time."""
        return RolloutStatistics(
            self._generated_tokens, self._generated_groups, self._weight_updates, self._pause_seconds
        )

    async def stop(self) -> None:
        """End the engine's and the graders' processes."""
        if self._graders is not None:
            await asyncio.to_thread(self._graders.close)
        if self._engine is not None:
            self._engine.shutdown()

    @property
    def _started_engine(self) -> Engine:
        assert self._engine is not None, "start() comes first"
        return self._engine

    @property
    def _started_graders(self) -> GraderPool:
        assert self._graders is not None, "start() comes first"
        return self._graders

    async def _lease_groups(self, client: BufferClient, tasks: asyncio.TaskGroup) -> None:
        """Start a task for every lease, as far as there is room, until the run is over."""
        leases: list[LeasedGroup] | None = []
        while leases is not None:
            free = 0
            try:
                # A semaphore only counts: wait for one place, then take the others without waiting.
                while free == 0 or not self._room.locked():
                    await self._room.acquire()
                    free += 1
                leases = await client.lease(self._name, free, WAIT_SECONDS)
                for lease in leases or ():
                    task = tasks.create_task(self._produce(client, lease))
                    free -= 1
                    self._working.add(task)
                    task.add_done_callback(self._make_room)
            finally:
                for _ in range(free):
                    self._room.release()

    def _make_room(self, task: asyncio.Task[None]) -> None:
        # Not at the end of the task itself, which may be cancelled before it begins.
        self._working.discard(task)
        self._room.release()

    async def _produce(self, client: BufferClient, lease: LeasedGroup) -> None:
        try:
            prompt_token_ids = self._encoder.encode(lease.problem)
            sampling = self._config.sampling
            seed = group_seed(self._config, lease.id) if sampling.seed_requests else None
            async with asyncio.timeout(self._config.request_timeout_seconds):
                completions = await self._started_engine.generate(
                    prompt_token_ids, self._config.completions_per_group, sampling, seed
                )
            grades = await self._started_graders.grade(lease.problem, completions)
            group = Group(lease.id, lease.problem, prompt_token_ids, tuple(completions), grades, lease.lease_version)
            self._generated_tokens += group.completion_tokens
            self._generated_groups += 1
            if not await client.deliver(self._name, group):
                logger.warning("group %d came after its lease was lost and was dropped", lease.id)
        except PromptTooLongError as error:
            await client.discard(self._name, lease.id, str(error))
        except TimeoutError as error:
            logger.warning("group %d is given back: %s", lease.id, error)
            await client.return_lease(self._name, lease.id, str(error) or "request_timeout_seconds passed")

    async def _follow_versions(self, client: BufferClient) -> None:
        while True:
            await self._follow(client)

    async def _follow(self, client: BufferClient) -> None:
        newest = await client.newest_version(self._started_engine.version, WAIT_SECONDS)
        if newest is None:
            return
        version, snapshot = newest
        async with self._loading:
            try:
                seconds = await self._started_engine.load(version, snapshot)
            except FileNotFoundError as error:
                if await client.newest_version(self._started_engine.version, 0.0) == newest:
                    raise RuntimeError(
                        f"{snapshot} is not on this host: engines must share the trainer's host and "
                        "weight_sync.directory"
                    ) from error
                logger.info("version %d was replaced by a newer one before it was loaded", version)
                return
        self._weight_updates += 1
        self._pause_seconds += seconds
        await client.loaded(self._name, version)
