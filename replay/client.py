"""The buffer as its callers see it: every call has a bound, also when the buffer has died."""

from __future__ import annotations

import asyncio
from typing import Any

from replay.batch_summary import BatchSummary
from replay.group_state import LeasedGroup
from replay.records import Batch, Group

# On top of the time that the buffer may wait itself: for the call, the write and a busy machine.
ANSWER_SECONDS = 60.0


class BufferClient:
    """Awaits the methods of a `BufferActor`.

    Raises:
        TimeoutError: from any call that is not answered in time, with the name of the call.
        ray.exceptions.RayError: from any call if the buffer has died or raised.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def loaded(self, worker: str, version: int) -> None:
        await self._call("loaded", worker, version)

    async def lease(self, worker: str, count: int, wait_seconds: float) -> list[LeasedGroup] | None:
        leases: list[LeasedGroup] | None = await self._ask("lease", wait_seconds, worker, count)
        return leases

    async def deliver(self, worker: str, group: Group) -> bool:
        return bool(await self._call("deliver", worker, group))

    async def return_lease(self, worker: str, group_id: int, reason: str) -> None:
        await self._call("return_lease", worker, group_id, reason)

    async def discard(self, worker: str, group_id: int, reason: str) -> None:
        await self._call("discard", worker, group_id, reason)

    async def select_batch(self, step: int, wait_seconds: float) -> BatchSummary | None:
        summary: BatchSummary | None = await self._ask("select_batch", wait_seconds, step)
        return summary

    def batch_reference(self, step: int) -> Any:
        """A Ray reference to the batch, so that it travels to the ranks without passing through here."""
        return self._actor.batch.remote(step)

    async def batch(self, step: int) -> Batch:
        batch: Batch = await self._call("batch", step)
        return batch

    async def publish(self, version: int, snapshot: str) -> None:
        await self._call("publish", version, snapshot)

    async def newest_version(self, after: int, wait_seconds: float) -> tuple[int, str] | None:
        newest: tuple[int, str] | None = await self._ask("newest_version", wait_seconds, after)
        return newest

    async def waiting(self) -> str:
        return str(await self._call("waiting"))

    async def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        groups, outcomes = await self._call("counts")
        return groups, outcomes

    async def is_over(self, wait_seconds: float) -> bool:
        return bool(await self._ask("is_over", wait_seconds))

    async def stop_leasing(self) -> None:
        await self._call("stop_leasing")

    async def close(self) -> None:
        await self._call("close")

    async def _ask(self, method: str, wait_seconds: float, *arguments: Any) -> Any:
        return await self._bounded(method, ANSWER_SECONDS + wait_seconds, *arguments, wait_seconds)

    async def _call(self, method: str, *arguments: Any) -> Any:
        return await self._bounded(method, ANSWER_SECONDS, *arguments)

    async def _bounded(self, method: str, limit_seconds: float, *arguments: Any) -> Any:
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that arrives together with the answer.
            async with asyncio.timeout(limit_seconds):
                return await getattr(self._actor, method).remote(*arguments)
        except TimeoutError as error:
            raise TimeoutError(
                f"the replay buffer did not answer {method} within {limit_seconds:g} seconds"
            ) from error
