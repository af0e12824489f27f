"""The loop of training steps, while the rollout workers go on by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from inflight.actors import Actors
from inflight.config import Config
from inflight.failures import RunFailedError, cause_of
from inflight.summary import RunSummary
from replay.batch_summary import BatchSummary
from replay.client import BufferClient
from rollout.worker import RolloutStatistics

T = TypeVar("T")


class TrainingLoop:
    """Wait for a batch, train on it, publish the new version; repeat.

    Nothing here waits for generation except by waiting for a batch. If a rollout worker ends in the
    meantime, its error ends the loop at once.

    Args:
        config: the run's configuration.
        actors: all started.
        buffer: client of the buffer.
        summary: where totals are kept.
        report: called after every step with its number, counted from 1, and its metrics.
        run_dir: checkpoints go below it.
    """

    def __init__(
        self,
        config: Config,
        actors: Actors,
        buffer: BufferClient,
        summary: RunSummary,
        report: Callable[[int, Mapping[str, float]], None],
        run_dir: Path,
    ) -> None:
        self._config = config
        self._actors = actors
        self._buffer = buffer
        self._summary = summary
        self._report = report
        self._run_dir = run_dir
        self._rollouts: set[asyncio.Future[None]] = set()
        self.version = 0

    async def publish(self) -> float:
        """Hand the trainer's version to the buffer, for every engine to load. Seconds to write it."""
        answers = await self._bounded(
            asyncio.gather(*(rank.publish.remote() for rank in self._actors.ranks)),
            self._config.weight_sync.timeout_seconds,
            "publishing the weights",
        )
        self.version, snapshot, seconds = answers[0]
        await self._buffer.publish(self.version, snapshot)
        return float(seconds)

    async def run(self) -> None:
        """All steps; the rollout workers have ended when this returns.

        Raises:
            RunFailedError: if a rollout worker ends early, or something takes longer than its bound.
        """
        self._rollouts = {
            asyncio.ensure_future(worker.run.remote(self._actors.buffer)) for worker in self._actors.rollouts
        }
        try:
            previous = await self.statistics()
            began = time.monotonic()
            for step in range(self._config.trainer.steps):
                batch = await self._next_batch(step)
                metrics = await self._train(step)
                publish_seconds = await self.publish()
                statistics = await self.statistics()
                now = time.monotonic()
                self._summary.add_batch(batch)
                self._summary.set_rollouts(statistics)
                self._report(
                    step + 1,
                    _metrics(batch, metrics, previous, statistics, now - began)
                    | {"time/step_seconds": now - began, "time/publish_seconds": publish_seconds},
                )
                previous, began = statistics, now
                save_every = self._config.trainer.save_every
                if save_every is not None and (step + 1) % save_every == 0:
                    await self.save()
            await self._buffer.stop_leasing()
            rollouts, self._rollouts = self._rollouts, set()
            await self._bounded(
                asyncio.gather(*rollouts), self._config.rollout.request_timeout_seconds, "the end of the rollouts"
            )
        finally:
            for rollout in self._rollouts:
                rollout.cancel()
            self._rollouts = set()

    async def save(self) -> Path:
        """A Hugging Face checkpoint of the version that the ranks hold."""
        parent = self._run_dir / "checkpoints"
        parent.mkdir(exist_ok=True)
        answers = await self._bounded(
            asyncio.gather(*(rank.save.remote(str(parent)) for rank in self._actors.ranks)),
            self._config.trainer.step_timeout_seconds,
            "saving a checkpoint",
        )
        _, directory = answers[0]
        self._summary.checkpoint = directory
        return Path(directory)

    async def statistics(self) -> list[RolloutStatistics]:
        """Totals of every rollout worker."""
        return list(
            await self._bounded(
                asyncio.gather(*(worker.statistics.remote() for worker in self._actors.rollouts)),
                self._config.rollout.request_timeout_seconds,
                "the rollout workers' statistics",
            )
        )

    async def _next_batch(self, step: int) -> BatchSummary:
        began = time.monotonic()
        while True:
            remaining = self._config.trainer.batch_timeout_seconds - (time.monotonic() - began)
            if remaining <= 0:
                raise RunFailedError(
                    f"no batch for step {step} within trainer.batch_timeout_seconds "
                    f"{self._config.trainer.batch_timeout_seconds:g}: {await self._buffer.waiting()}"
                )
            wait = min(10.0, remaining)
            batch = await self._bounded(self._buffer.select_batch(step, wait), wait + 120.0, f"batch {step}")
            if batch is not None:
                return batch

    async def _train(self, step: int) -> dict[str, float]:
        reference = self._buffer.batch_reference(step)
        answers = await self._bounded(
            asyncio.gather(*(rank.train.remote(reference) for rank in self._actors.ranks)),
            self._config.trainer.step_timeout_seconds,
            f"training step {step}",
        )
        metrics: dict[str, float] = answers[0]
        return metrics

    async def _bounded(self, work: Awaitable[T], timeout_seconds: float, what: str) -> T:
        """The result of `work`, unless a rollout worker ends or the time runs out first."""
        task = asyncio.ensure_future(work)
        watched: set[asyncio.Future[T] | asyncio.Future[None]] = {task, *self._rollouts}
        done, _ = await asyncio.wait(watched, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        task.cancel()
        for rollout in self._rollouts & done:
            error = rollout.exception()
            reason = cause_of(error) if error is not None else "it was told that the run is over"
            raise RunFailedError(f"a rollout worker ended during {what}: {reason}")
        raise RunFailedError(f"{what} took longer than {timeout_seconds:g} seconds")


def _metrics(
    batch: BatchSummary,
    trainer: Mapping[str, float],
    before: list[RolloutStatistics],
    after: list[RolloutStatistics],
    seconds: float,
) -> dict[str, float]:
    def increase(name: str) -> float:
        return float(sum(getattr(worker, name) for worker in after) - sum(getattr(worker, name) for worker in before))

    metrics = {f"train/{name}": value for name, value in trainer.items()}
    metrics |= {
        "reward/mean": batch.score_mean,
        "reward/pass_rate": batch.pass_rate,
        "reward/groups_without_signal_share": batch.groups_without_signal / batch.groups,
        "staleness/mean": batch.staleness_sum / max(1, batch.tokens),
        "staleness/max": batch.staleness_max,
        "staleness/completions_spanning_versions": batch.completions_spanning_versions,
        "completions/length_mean": batch.tokens / batch.completions,
        "completions/truncated_share": batch.truncated / batch.completions,
        "throughput/trained_tokens_per_second": batch.tokens / seconds,
        "throughput/generated_tokens_per_second": increase("generated_tokens") / seconds,
        "weight_sync/updates": increase("weight_updates"),
        "weight_sync/pause_seconds": increase("pause_seconds"),
    }
    metrics |= {f"grades/{outcome}": float(count) for outcome, count in batch.outcomes.items()}
    return metrics
