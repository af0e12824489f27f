"""The rules of the shared buffer: who may start a group, which groups make a batch, what is final."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from replay.config import ReplayConfig
from replay.group_state import GroupState, LeasedGroup
from replay.ledger import Ledger
from replay.records import Batch, Group, Problem
from replay.selection import select_oldest_first
from replay.staleness import StalenessGate


class ProblemSampler(Protocol):
    """What the buffer asks of the curriculum; see `curriculum.sampler_protocol.Sampler`."""

    def next_problem(self) -> Problem: ...

    def give_back(self, problem_id: str) -> None: ...

    def observe(self, problem_id: str, accuracy: float | None, version: int) -> None: ...

    def state(self) -> dict[str, Any]: ...


class NothingToAskError(RuntimeError):
    """Every problem that was asked had to be discarded."""


class ReplayBuffer:
    """Leases, finished groups, batches and versions, kept in the ledger before they are acknowledged.

    A plain class under a clock that is handed in: no threads, no Ray. One caller at a time. The life of a
    group, with a worked example, is written in `GroupState`; the bound on staleness in `StalenessGate`.

    Args:
        ledger: an open ledger without groups.
        sampler: decides which problem is leased next and hears how each group went.
        config: the bound, the batch size and the length of a lease.
        clock: seconds, not decreasing.

    Raises:
        ValueError: if the ledger already holds groups.
    """

    def __init__(
        self, ledger: Ledger, sampler: ProblemSampler, config: ReplayConfig, clock: Callable[[], float]
    ) -> None:
        if ledger.count_by_state() or ledger.newest_version() >= 0:
            raise ValueError(f"{ledger.path} already holds a run")
        self._ledger = ledger
        self._sampler = sampler
        self._config = config
        self._clock = clock
        self._gate = StalenessGate(config.groups_per_batch, config.max_staleness)
        self._leased: dict[int, LeasedGroup] = {}
        self._ready: dict[int, int] = {}
        self._admitted = 0
        self._next_group = 0
        self._version = -1
        self._discarded_in_a_row = 0

    @property
    def version(self) -> int:
        """The newest published version; -1 before the first."""
        return self._version

    def lease(self, worker: str, engine_version: int, count: int) -> list[LeasedGroup]:
        """Up to `count` new leases for a worker whose engine has loaded `engine_version`.

        Raises:
            ValueError: if that version was never published.
        """
        if not 0 <= engine_version <= self._version:
            raise ValueError(
                f"worker {worker} asks at version {engine_version}, but {self._version} is the newest published"
            )
        count = min(count, self._gate.capacity(self._admitted, engine_version))
        if count <= 0:
            return []
        now = self._clock()
        leases: list[LeasedGroup] = []
        try:
            for group_id in range(self._next_group, self._next_group + count):
                problem = self._sampler.next_problem()
                expires_at = now + self._config.lease_seconds
                leases.append(LeasedGroup(group_id, problem, worker, engine_version, expires_at))
            with self._ledger.transaction():
                for lease in leases:
                    self._ledger.add_lease(lease, now)
        except BaseException:
            for lease in leases:
                self._sampler.give_back(lease.problem.id)
            raise
        self._next_group += len(leases)
        self._admitted += len(leases)
        self._leased.update({lease.id: lease for lease in leases})
        return leases

    def deliver(self, worker: str, group: Group) -> bool:
        """Keep a finished group. True once it is on disk; False if its lease was lost, so it is dropped.

        Delivering again after True is answered with True and changes nothing, so that a worker that lost
        the answer may repeat the call.

        Raises:
            ValueError: if the group is not the one that was leased, or a token is older than its lease or newer
                than the newest published version.
        """
        lease = self._leased.get(group.id)
        if lease is None or lease.worker != worker:
            return self._ledger.was_delivered(group.id, worker)
        versions = [span.version for completion in group.completions for span in completion.version_spans]
        if group.problem.id != lease.problem.id or group.lease_version != lease.lease_version:
            raise ValueError(f"group {group.id} is not what was leased under this number: {lease}")
        if versions and not lease.lease_version <= min(versions) <= max(versions) <= self._version:
            raise ValueError(
                f"group {group.id} has tokens of versions {min(versions)} to {max(versions)}: it was leased at "
                f"version {lease.lease_version}, and {self._version} is the newest published"
            )
        with self._ledger.transaction():
            self._ledger.add_completions(group, self._clock())
        del self._leased[group.id]
        self._ready[group.id] = group.lease_version
        self._discarded_in_a_row = 0
        self._sampler.observe(group.problem.id, group.accuracy, group.lease_version)
        return True

    def return_leases(self, worker: str, reason: str) -> int:
        """Take back every lease of a worker that is gone; their problems are asked again. Their number."""
        lost = [lease for lease in self._leased.values() if lease.worker == worker]
        self._return(lost, reason)
        return len(lost)

    def return_lease(self, worker: str, group_id: int, reason: str) -> None:
        """A worker gives up one lease; its problem is asked again. No effect if the lease is lost already."""
        lease = self._leased.get(group_id)
        if lease is not None and lease.worker == worker:
            self._return([lease], reason)

    def return_expired(self) -> int:
        """Take back the leases whose time has run out. Their number."""
        now = self._clock()
        expired = [lease for lease in self._leased.values() if lease.expires_at <= now]
        self._return(expired, f"not delivered within lease_seconds {self._config.lease_seconds:g}")
        return len(expired)

    def _return(self, leases: list[LeasedGroup], reason: str) -> None:
        if not leases:
            return
        now = self._clock()
        with self._ledger.transaction():
            for lease in leases:
                self._ledger.end_lease(lease.id, GroupState.RETURNED, reason, now)
        for lease in leases:
            del self._leased[lease.id]
            self._admitted -= 1
            self._sampler.give_back(lease.problem.id)

    def discard(self, worker: str, group_id: int, reason: str, *, most_in_a_row: int) -> None:
        """A leased problem cannot be asked at all; it counts as served and its capacity is free again.

        Raises:
            NothingToAskError: if more than `most_in_a_row` problems were discarded and none was finished.
        """
        lease = self._leased.get(group_id)
        if lease is None or lease.worker != worker:
            return
        with self._ledger.transaction():
            self._ledger.end_lease(group_id, GroupState.DISCARDED, reason, self._clock())
        del self._leased[group_id]
        self._admitted -= 1
        self._discarded_in_a_row += 1
        if self._discarded_in_a_row > most_in_a_row:
            raise NothingToAskError(
                f"{self._discarded_in_a_row} problems in a row had to be discarded; the last: {reason}"
            )

    def select_batch(self, step: int) -> bool:
        """Settle which groups step `step` trains on; False while it has to wait. Settled once, for good.

        Raises:
            ValueError: if `step` is not the step that the newest version waits for.
        """
        if self._ledger.batch_exists(step):
            return True
        if step != self._version:
            raise ValueError(f"step {step} starts from version {step}, but {self._version} is the newest published")
        chosen = select_oldest_first(
            self._ready, {lease.id: lease.lease_version for lease in self._leased.values()}, step, self._gate
        )
        if chosen is None:
            return False
        with self._ledger.transaction():
            self._ledger.add_batch(step, chosen, self._clock())
        for group_id in chosen:
            del self._ready[group_id]
        return True

    def batch(self, step: int) -> Batch:
        """The batch that was settled for a step.

        Raises:
            KeyError: if none was.
        """
        return self._ledger.batch(step)

    def publish(self, version: int) -> None:
        """Version `version` is in the hands of weight_sync; the step that made it is final.

        Raises:
            ValueError: if versions are skipped, repeated, or the step before it has no batch.
        """
        if version != self._version + 1:
            raise ValueError(f"version {version} cannot follow {self._version}: versions are published one by one")
        step = version - 1
        if step >= 0 and not self._ledger.batch_exists(step):
            raise ValueError(f"version {version} cannot be published: step {step} has no batch")
        now = self._clock()
        with self._ledger.transaction():
            if step >= 0:
                self._ledger.mark_trained(step, now)
            self._ledger.add_version(version, json.dumps(self._sampler.state()), now)
        self._version = version

    def waiting(self) -> str:
        """One sentence on what is in hand, for messages about waiting too long."""
        return (
            f"version {self._version}, {len(self._ready)} groups ready of {self._config.groups_per_batch} per batch, "
            f"{len(self._leased)} leased, ledger {self._ledger.count_by_state()}"
        )

    def count_by_state(self) -> dict[str, int]:
        """Number of groups in each state."""
        return self._ledger.count_by_state()

    def count_by_outcome(self) -> dict[str, int]:
        """Number of completions of each grading outcome."""
        return self._ledger.count_by_outcome()
