"""The buffer as a Ray actor: the same calls, with waiting done here instead of by polling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from replay.batch_summary import BatchSummary, summarise
from replay.buffer import ProblemSampler, ReplayBuffer
from replay.config import ReplayConfig
from replay.group_state import LeasedGroup
from replay.ledger import FILE_NAME, Ledger
from replay.records import Batch, Group


class BufferActor:
    """Runs on one event loop, so that every call of `ReplayBuffer` is alone; callers wait in between.

    Made into an actor by the run with `ray.remote(BufferActor)`. Waits are bounded by the caller's
    `wait_seconds`: an answer without content means "ask again".
    """

    def __init__(self, run_dir: str, config: ReplayConfig, sampler: ProblemSampler, problem_count: int) -> None:
        self._ledger = Ledger(Path(run_dir) / FILE_NAME)
        # Seconds since 1970, so that the ledger can be read later, but never set back by the machine.
        started = time.time() - time.monotonic()
        self._buffer = ReplayBuffer(self._ledger, sampler, config, lambda: started + time.monotonic())
        self._problem_count = problem_count
        self._changed = asyncio.Condition()
        self._snapshot = ""
        self._loaded: dict[str, int] = {}
        self._closed = False
        self._batch: Batch | None = None

    async def loaded(self, worker: str, version: int) -> None:
        """A worker's engine has this version in place; what it may be leased depends on it."""
        self._loaded[worker] = version
        await self._notify()

    async def lease(self, worker: str, count: int, wait_seconds: float) -> list[LeasedGroup] | None:
        """Between 1 and `count` leases, or none after `wait_seconds`; None once the run is over.

        While a worker waits here, its engine may load a newer version: `loaded` then wakes the call.

        Raises:
            ValueError: if the worker has not said which version it has loaded.
        """
        if worker not in self._loaded:
            raise ValueError(f"worker {worker} asks for a lease before it has reported a loaded version")
        leases: list[LeasedGroup] = []

        def ask() -> bool:
            self._buffer.return_expired()
            if not self._closed:
                leases.extend(self._buffer.lease(worker, self._loaded[worker], count))
            return bool(leases) or self._closed

        await self._wait_until(ask, wait_seconds)
        return leases if leases or not self._closed else None

    async def deliver(self, worker: str, group: Group) -> bool:
        """See `ReplayBuffer.deliver`."""
        kept = self._buffer.deliver(worker, group)
        await self._notify()
        return kept

    async def return_lease(self, worker: str, group_id: int, reason: str) -> None:
        """See `ReplayBuffer.return_lease`."""
        self._buffer.return_lease(worker, group_id, reason)
        await self._notify()

    async def return_leases(self, worker: str, reason: str) -> int:
        """See `ReplayBuffer.return_leases`."""
        returned = self._buffer.return_leases(worker, reason)
        await self._notify()
        return returned

    async def discard(self, worker: str, group_id: int, reason: str) -> None:
        """See `ReplayBuffer.discard`."""
        self._buffer.discard(worker, group_id, reason, most_in_a_row=self._problem_count)
        await self._notify()

    async def select_batch(self, step: int, wait_seconds: float) -> BatchSummary | None:
        """The settled batch in numbers, or None after `wait_seconds`; `batch` then has its groups."""

        def ask() -> bool:
            self._buffer.return_expired()
            return self._buffer.select_batch(step)

        if not await self._wait_until(ask, wait_seconds):
            return None
        return summarise(self._read_batch(step))

    async def batch(self, step: int) -> Batch:
        """The groups of a settled batch."""
        return self._read_batch(step)

    async def publish(self, version: int, snapshot: str) -> None:
        """Version `version` can be loaded from `snapshot`; wakes everybody who waits for it."""
        self._buffer.publish(version)
        self._snapshot = snapshot
        await self._notify()

    async def newest_version(self, after: int, wait_seconds: float) -> tuple[int, str] | None:
        """Newest version and its snapshot if newer than `after`, or None after `wait_seconds`.

        Whoever was busy while several versions were published goes straight to the newest.
        """
        await self._wait_until(lambda: self._buffer.version > after, wait_seconds)
        return (self._buffer.version, self._snapshot) if self._buffer.version > after else None

    async def waiting(self) -> str:
        """See `ReplayBuffer.waiting`."""
        return self._buffer.waiting()

    async def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Groups by state and completions by outcome."""
        return self._buffer.count_by_state(), self._buffer.count_by_outcome()

    async def is_over(self, wait_seconds: float) -> bool:
        """True as soon as the run is over, False after `wait_seconds`."""
        return await self._wait_until(lambda: self._closed, wait_seconds)

    async def stop_leasing(self) -> None:
        """The run is over: whoever asks for a lease from now on is answered with None."""
        self._closed = True
        await self._notify()

    async def close(self) -> None:
        """Close the ledger; no call may follow."""
        self._ledger.close()

    def _read_batch(self, step: int) -> Batch:
        # Asked for twice a step, in numbers and in full, and read from the ledger once.
        if self._batch is None or self._batch.step != step:
            self._batch = self._buffer.batch(step)
        return self._batch

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait_until(self, condition: Callable[[], bool], wait_seconds: float) -> bool:
        if condition():
            return True
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(condition), wait_seconds)
            except TimeoutError:
                return False
        return True
