"""The actors of a run: started with their environment and resources, and stopped whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from curriculum.sampler import ShuffledSampler
from inflight.actor_process import LOG_FILE_VARIABLE
from inflight.cluster import Cluster
from inflight.config import Config
from inflight.failures import StartError, cause_of
from replay.actor import BufferActor
from replay.client import BufferClient
from replay.records import Problem
from rollout.environment import engine_environment
from rollout.worker import PromptSettings, RolloutWorker
from trainer.rank import TrainerRank
from trainer.warm_start import WarmStart


class Actors:
    """Handles of the buffer, the rollout workers and the trainer ranks.

    Args:
        config: the run's configuration.
        run_dir: its folder; every actor writes a log under `logs/`.
        cluster: the Ray they run on.
    """

    def __init__(self, config: Config, run_dir: Path, cluster: Cluster) -> None:
        self._config = config
        self._run_dir = run_dir
        self._cluster = cluster
        self._handles: list[Any] = []
        self.buffer: Any = None
        self.rollouts: list[Any] = []
        self.ranks: list[Any] = []

    def log_file(self, name: str) -> Path:
        return self._run_dir / "logs" / f"{name}.log"

    def start_buffer(self, problems: Sequence[Problem]) -> BufferClient:
        """The buffer with its ledger in the run's folder, asked through the client that is returned."""
        sampler = ShuffledSampler(problems, self._config.curriculum.seed)
        self.buffer = self._create(
            BufferActor, "buffer", {}, 0, 0, str(self._run_dir), self._config.replay, sampler, len(problems)
        )
        return BufferClient(self.buffer)

    def create_warm_start(self) -> Any:
        """The actor of the supervised stage."""
        warm_start = self._config.model.warm_start
        assert warm_start is not None
        environment = {} if warm_start.threads is None else {"OMP_NUM_THREADS": str(warm_start.threads)}
        return self._create(WarmStart, "warm_start", environment, 1, 0, max_concurrency=2)

    async def start_rollouts(self, model_path: str) -> None:
        """Start all rollout workers with their engines.

        Raises:
            StartError: if one does not come up.
        """
        config, curriculum = self._config.rollout, self._config.curriculum
        prompts = PromptSettings(curriculum.chat_template, curriculum.system_prompt, curriculum.max_prompt_tokens)
        names = [f"rollout-{number}" for number in range(config.workers)]
        self.rollouts = [
            self._create(
                RolloutWorker,
                name,
                engine_environment(config),
                config.num_cpus,
                config.num_gpus,
                name,
                model_path,
                config,
                prompts,
                self._config.rewards,
                self._config.weight_sync,
            )
            for name in names
        ]
        await asyncio.gather(
            *(
                self._started(worker.start.remote(), name, config.start_timeout_seconds)
                for name, worker in zip(names, self.rollouts, strict=True)
            )
        )

    async def start_trainer(self, model_path: str, snapshot_directory: Path) -> None:
        """Start all trainer ranks and let them meet.

        Raises:
            StartError: if one does not come up.
        """
        config = self._config.trainer
        environment = {} if config.num_gpus else {"DS_ACCELERATOR": "cpu"}
        if config.threads is not None:
            environment["OMP_NUM_THREADS"] = str(config.threads)
        names = [f"trainer-{rank}" for rank in range(config.ranks)]
        self.ranks = [
            self._create(
                TrainerRank,
                name,
                environment,
                config.num_cpus,
                config.num_gpus,
                rank,
                config,
                self._config.rollout.sampling.temperature,
            )
            for rank, name in enumerate(names)
        ]
        address, port = await self._started(self.ranks[0].rendezvous.remote(), names[0], config.start_timeout_seconds)
        await asyncio.gather(
            *(
                self._started(
                    rank.start.remote(model_path, str(snapshot_directory), address, port),
                    name,
                    config.start_timeout_seconds,
                )
                for name, rank in zip(names, self.ranks, strict=True)
            )
        )

    async def stop(self, timeout_seconds: float) -> None:
        """Let the workers end their engines and graders, then end every actor."""
        stopping = [worker.stop.remote() for worker in self.rollouts]
        if stopping:
            with contextlib.suppress(TimeoutError, RayError):
                await asyncio.wait_for(asyncio.gather(*stopping), timeout_seconds)
        if self.buffer is not None:
            # A closed ledger is one file; otherwise its newest rows are in the write-ahead log beside it.
            with contextlib.suppress(TimeoutError, RayError):
                await asyncio.wait_for(self.buffer.close.remote(), timeout_seconds)
        for handle in self._handles:
            ray.kill(handle)

    def end(self, handle: Any) -> None:
        """End one actor that is no longer needed."""
        self._handles.remove(handle)
        ray.kill(handle)

    def _create(
        self,
        actor: type,
        name: str,
        environment: dict[str, str],
        num_cpus: float,
        num_gpus: float,
        *arguments: Any,
        max_concurrency: int | None = None,
    ) -> Any:
        variables = {LOG_FILE_VARIABLE: str(self.log_file(name)), **environment}
        options = {} if max_concurrency is None else {"max_concurrency": max_concurrency}
        handle = (
            ray.remote(actor)
            .options(
                num_cpus=num_cpus, num_gpus=num_gpus, runtime_env={"env_vars": variables}, max_restarts=0, **options
            )
            .remote(*arguments)
        )
        self._handles.append(handle)
        return handle

    async def _started(self, call: Awaitable[Any], name: str, timeout_seconds: float) -> Any:
        try:
            # Not wait_for: before Python 3.12 it swallows a Ctrl-C that arrives together with the answer.
            async with asyncio.timeout(timeout_seconds):
                return await call
        except TimeoutError as error:
            raise StartError(
                f"{name} did not start within {timeout_seconds:g} seconds; Ray has {self._cluster.resources()}. "
                f"If its resources are there, its log says more: {self.log_file(name)}"
            ) from error
        except RayError as error:
            raise StartError(f"{name} did not start: {cause_of(error)}\nIts log: {self.log_file(name)}") from error
