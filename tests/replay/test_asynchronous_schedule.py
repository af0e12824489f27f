"""Many steps of asynchronous training under a clock of the test's own, with everything going wrong."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from finished_groups import CORRECT, FAILED, WRONG, contents, finished, problems

from curriculum.sampler import ShuffledSampler
from replay.buffer import ReplayBuffer
from replay.config import ReplayConfig
from replay.group_state import GroupState, LeasedGroup
from replay.ledger import Ledger
from replay.records import Batch, Group

LEASE_SECONDS = 100.0


@dataclass
class Worker:
    """An engine at some version, writing the tokens of the groups it holds."""

    name: str
    version: int
    # The version that wrote each token so far, by lease.
    writing: dict[int, tuple[LeasedGroup, list[int]]] = field(default_factory=dict)

    def write(self) -> None:
        for _, versions in self.writing.values():
            versions.append(self.version)

    def finish(self, group_id: int, chance: random.Random) -> Group:
        lease, versions = self.writing.pop(group_id)
        return finished(lease, versions, grades=chance.choices([CORRECT, WRONG, FAILED], k=2))


class Simulation:
    """Does one random thing after the other and checks the buffer against its own books after each."""

    def __init__(self, max_staleness: int, groups_per_batch: int, workers: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.eta, self.size, self.most_workers = max_staleness, groups_per_batch, workers
        self.now = 0.0
        self.sampler = ShuffledSampler(problems(7), seed)
        # In memory, since thousands of synced writes are slow and the disk has its own tests.
        self.ledger = Ledger(Path(":memory:"))
        config = ReplayConfig(
            max_staleness=max_staleness, groups_per_batch=groups_per_batch, lease_seconds=LEASE_SECONDS
        )
        self.buffer = ReplayBuffer(self.ledger, self.sampler, config, lambda: self.now)
        self.buffer.publish(0)
        self.workers: list[Worker] = []
        self.started = 0
        self.states: dict[int, GroupState] = {}
        self.count: Counter[GroupState] = Counter()
        self.leases: dict[int, LeasedGroup] = {}
        self.delivered: dict[int, Group] = {}
        self.lost: list[tuple[str, Group]] = []
        self.training = False
        self.seen: Counter[str] = Counter()

    def run(self, steps: int) -> None:
        """Until version `steps` is published.

        Raises:
            AssertionError: if anything is not as it should be, or nothing goes on any more.
        """
        actions = {
            self.ask: 8,
            self.deliver: 8,
            self.write: 4,
            self.train: 6,
            self.load: 3,
            self.deliver_again: 1,
            self.deliver_lost: 1,
            self.discard: 0.5,
            self.give_up: 0.5,
            self.hang: 0.2,
            self.die: 0.2,
            self.join: 1,
        }
        idle = 0
        while self.buffer.version < steps:
            version = self.buffer.version
            self.now += self.chance.expovariate(1.0)
            (action,) = self.chance.choices(list(actions), list(actions.values()))
            action()
            self.check_counts()
            idle = 0 if self.buffer.version > version else idle + 1
            assert idle < 3000, f"no step in 3000 events: {self.buffer.waiting()}"

    def become(self, group_id: int, state: GroupState) -> None:
        if group_id in self.states:
            self.count[self.states[group_id]] -= 1
        self.states[group_id] = state
        self.count[state] += 1

    # What workers do

    def anyone(self) -> Worker | None:
        return self.chance.choice(self.workers) if self.workers else None

    def join(self) -> None:
        if len(self.workers) < self.most_workers:
            self.workers.append(Worker(f"worker-{self.started}", self.buffer.version))
            self.started += 1

    def ask(self) -> None:
        if not (worker := self.anyone()):
            return
        wanted = self.chance.randint(1, 2 * self.size)
        gone = self.count[GroupState.RETURNED] + self.count[GroupState.DISCARDED]
        allowed = (worker.version + self.eta + 1) * self.size - (len(self.states) - gone)
        leases = self.buffer.lease(worker.name, worker.version, wanted)
        assert len(leases) == max(0, min(wanted, allowed))
        for lease in leases:
            assert lease.id == len(self.states)
            assert lease.lease_version == worker.version
            self.become(lease.id, GroupState.LEASED)
            self.leases[lease.id] = lease
            worker.writing[lease.id] = lease, []

    def write(self) -> None:
        for worker in self.workers:
            worker.write()

    def load(self) -> None:
        """Most workers go straight to the newest version; some are late with theirs."""
        if worker := self.anyone():
            worker.version = self.chance.randint(worker.version, self.buffer.version)

    def deliver(self) -> None:
        if not (worker := self.anyone()) or not worker.writing:
            return
        group_id = self.chance.choice(sorted(worker.writing))
        group = worker.finish(group_id, self.chance)
        held = self.states[group_id] is GroupState.LEASED
        assert self.buffer.deliver(worker.name, group) is held
        if held:
            self.become(group_id, GroupState.READY)
            self.delivered[group_id] = group

    def deliver_again(self) -> None:
        if self.delivered:
            group_id = self.chance.choice(sorted(self.delivered))
            assert self.buffer.deliver(self.leases[group_id].worker, self.delivered[group_id])
            assert not self.buffer.deliver("somebody else", self.delivered[group_id])

    def deliver_lost(self) -> None:
        if self.lost:
            worker, group = self.lost.pop()
            assert not self.buffer.deliver(worker, group)

    def discard(self) -> None:
        if (worker := self.anyone()) and worker.writing:
            group_id = self.chance.choice(sorted(worker.writing))
            worker.writing.pop(group_id)
            self.buffer.discard(worker.name, group_id, "too long", most_in_a_row=10**6)
            if self.states[group_id] is GroupState.LEASED:
                self.become(group_id, GroupState.DISCARDED)

    def give_up(self) -> None:
        if (worker := self.anyone()) and worker.writing:
            group_id = self.chance.choice(sorted(worker.writing))
            self.lost.append((worker.name, worker.finish(group_id, self.chance)))
            self.buffer.return_lease(worker.name, group_id, "gave up")
            self.return_those([group_id])

    def die(self) -> None:
        """A worker is gone; what it wrote may still arrive. One worker is left alive."""
        if len(self.workers) < 2:
            return
        worker = self.workers.pop(self.chance.randrange(len(self.workers)))
        held = [group_id for group_id in worker.writing if self.states[group_id] is GroupState.LEASED]
        for group_id in list(worker.writing):
            self.lost.append((worker.name, worker.finish(group_id, self.chance)))
        assert self.buffer.return_leases(worker.name, "died") == len(held)
        self.return_those(held)

    def hang(self) -> None:
        """Nobody does anything for half the time that a lease lasts."""
        self.now += LEASE_SECONDS / 2
        late = [
            group_id
            for group_id, state in self.states.items()
            if state is GroupState.LEASED and self.leases[group_id].expires_at <= self.now
        ]
        assert self.buffer.return_expired() == len(late)
        self.return_those(late)

    def return_those(self, group_ids: list[int]) -> None:
        for group_id in group_ids:
            if self.states[group_id] is GroupState.LEASED:
                self.become(group_id, GroupState.RETURNED)

    # What the trainer does

    def train(self) -> None:
        step = self.buffer.version
        if self.training:
            self.buffer.publish(step + 1)
            self.training = False
            for group in self.buffer.batch(step).groups:
                self.become(group.id, GroupState.TRAINED)
        elif self.buffer.select_batch(step):
            self.training = True
            self.check_batch(self.buffer.batch(step))

    # What must hold

    def check_batch(self, batch: Batch) -> None:
        assert batch.step == self.buffer.version
        assert len(batch.groups) == self.size
        for group in batch.groups:
            assert self.states[group.id] is GroupState.READY, "a group is trained on once, and after its delivery"
            assert contents(group) == contents(self.delivered[group.id])
            self.become(group.id, GroupState.BATCHED)
            for completion in group.completions:
                staleness = batch.step - completion.versions
                assert (staleness >= 0).all()
                assert (staleness <= self.eta).all()
                self.seen.update(f"staleness {age}" for age in staleness.tolist())
                self.seen["spans versions"] += len(completion.version_spans) > 1
        if self.eta == 0:
            leased_now = {
                group_id
                for group_id, state in self.states.items()
                if self.leases[group_id].lease_version == batch.step
                and state not in (GroupState.RETURNED, GroupState.DISCARDED)
            }
            assert {group.id for group in batch.groups} == leased_now

    def check_counts(self) -> None:
        assert self.buffer.count_by_state() == {state: count for state, count in self.count.items() if count}

    def check_problems(self) -> None:
        """Every problem was asked once per epoch, net of those that came back."""
        asked = Counter(
            self.leases[group_id].problem.id
            for group_id, state in self.states.items()
            if state is not GroupState.RETURNED
        )
        asked.update(self.sampler.state()["waiting"])
        epochs = self.sampler.epoch
        assert all(asked[problem.id] in (epochs, epochs + 1) for problem in problems(7))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("max_staleness", "groups_per_batch", "workers"),
    [(0, 1, 1), (0, 3, 3), (1, 1, 2), (1, 3, 3), (2, 2, 2), (2, 4, 4), (4, 1, 3), (4, 3, 5)],
)
def test_no_fault_makes_a_token_too_old_a_group_trained_twice_or_the_run_stand_still(
    max_staleness: int, groups_per_batch: int, workers: int, seed: int
) -> None:
    simulation = Simulation(max_staleness, groups_per_batch, workers, seed)
    with simulation.ledger:
        simulation.run(steps=200)
        simulation.check_problems()
    assert simulation.count[GroupState.TRAINED] == 200 * groups_per_batch
    assert simulation.count[GroupState.RETURNED]
    assert simulation.count[GroupState.DISCARDED]
    assert simulation.seen[f"staleness {max_staleness}"], "the bound was never reached, so it was not tested"
    assert bool(simulation.seen["spans versions"]) is (max_staleness > 0)
