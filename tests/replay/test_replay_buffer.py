from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from finished_groups import CORRECT, FAILED, WRONG, contents, finished, problems

from curriculum.sampler import ShuffledSampler
from replay.buffer import NothingToAskError, ReplayBuffer
from replay.config import ReplayConfig
from replay.group_state import LeasedGroup
from replay.ledger import FILE_NAME, Ledger
from replay.records import Problem

FullDisk = Callable[[Path], AbstractContextManager[None]]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class House:
    """A buffer with B = 2 and η = 1 over five problems, and what it was made of."""

    def __init__(self, ledger: Ledger, max_staleness: int = 1, groups_per_batch: int = 2) -> None:
        self.ledger = ledger
        self.sampler = ShuffledSampler(problems(5), seed=0)
        self.clock = Clock()
        config = ReplayConfig(max_staleness=max_staleness, groups_per_batch=groups_per_batch, lease_seconds=60.0)
        self.buffer = ReplayBuffer(ledger, self.sampler, config, self.clock)

    def lease(self, count: int, worker: str = "w", version: int = 0) -> list[LeasedGroup]:
        return self.buffer.lease(worker, version, count)

    def train(self, step: int) -> list[int]:
        """Select step `step` and publish what comes of it; the ids of its groups."""
        assert self.buffer.select_batch(step)
        ids = [group.id for group in self.buffer.batch(step).groups]
        self.buffer.publish(step + 1)
        return ids


@pytest.fixture
def house(ledger: Ledger) -> House:
    house = House(ledger)
    house.buffer.publish(0)
    return house


# Leases


def test_a_lease_says_who_what_when_and_under_which_version(house: House) -> None:
    order = ShuffledSampler(problems(5), seed=0)
    leases = house.lease(2)
    assert leases == [LeasedGroup(number, order.next_problem(), "w", 0, 1060.0) for number in range(2)]


def test_no_more_is_leased_than_the_gate_allows_however_often_it_is_asked(house: House) -> None:
    assert [lease.id for lease in house.lease(3)] == [0, 1, 2]
    assert [lease.id for lease in house.lease(3, "other")] == [3]
    assert house.lease(3) == house.lease(1, "other") == []


def test_asking_for_no_leases_or_fewer_gives_none(house: House) -> None:
    assert house.lease(0) == house.lease(-3) == []
    assert [lease.id for lease in house.lease(1)] == [0]


def test_a_version_that_was_never_published_is_no_reason_for_a_lease(ledger: Ledger) -> None:
    house = House(ledger)
    for version in (-1, 0):
        with pytest.raises(ValueError, match=f"asks at version {version}, but -1 is the newest published"):
            house.lease(1, version=version)
    house.buffer.publish(0)
    with pytest.raises(ValueError, match="worker w asks at version 1, but 0 is the newest published"):
        house.lease(1, version=1)
    assert len(house.lease(1, version=0)) == 1


def test_an_engine_that_is_late_with_its_update_does_not_get_what_a_new_one_gets(house: House) -> None:
    for lease in house.lease(4):
        house.buffer.deliver("w", finished(lease))
    house.train(0)
    assert house.lease(4, "late", version=0) == []
    assert [lease.id for lease in house.lease(4, "new", version=1)] == [4, 5]


# Deliveries


def test_a_worker_that_lost_the_answer_may_deliver_again_at_any_time(house: House) -> None:
    group, other = (finished(lease) for lease in house.lease(2))
    assert house.buffer.deliver("w", group)
    assert house.buffer.deliver("w", group)
    assert house.buffer.deliver("w", other)
    assert house.buffer.select_batch(0)
    assert house.buffer.deliver("w", group)
    house.buffer.publish(1)
    assert house.buffer.deliver("w", group)
    assert house.buffer.count_by_state() == {"trained": 2}
    assert house.buffer.count_by_outcome() == {"correct": 2, "wrong": 2}
    assert house.sampler.state()["history"][group.problem.id]["graded"] == 1


def test_a_group_whose_lease_was_returned_is_dropped_when_it_comes_late(house: House) -> None:
    first, second, third = house.lease(3)
    assert house.buffer.return_leases("w", "the worker died") == 3
    for lease in (first, second, third):
        assert not house.buffer.deliver("w", finished(lease))
    assert house.buffer.count_by_state() == {"returned": 3}
    assert house.buffer.count_by_outcome() == {}
    assert house.sampler.state()["history"] == {}


def test_a_group_that_was_discarded_or_never_leased_is_dropped(house: House) -> None:
    (lease,) = house.lease(1)
    house.buffer.discard("w", lease.id, "too long", most_in_a_row=5)
    assert not house.buffer.deliver("w", finished(lease))
    assert not house.buffer.deliver("w", finished(replace(lease, id=77)))
    assert house.buffer.count_by_state() == {"discarded": 1}


def test_nobody_can_deliver_return_or_discard_the_lease_of_another(house: House) -> None:
    (lease,) = house.lease(1)
    assert not house.buffer.deliver("thief", finished(lease))
    house.buffer.return_lease("thief", lease.id, "mine")
    house.buffer.discard("thief", lease.id, "mine", most_in_a_row=5)
    assert house.buffer.return_leases("thief", "gone") == 0
    assert house.buffer.count_by_state() == {"leased": 1}
    assert house.buffer.deliver("w", finished(lease))
    assert not house.buffer.deliver("thief", finished(lease))


def test_a_token_older_than_its_lease_is_refused_and_the_lease_stays(house: House) -> None:
    for lease in house.lease(2):
        house.buffer.deliver("w", finished(lease))
    house.train(0)
    (lease,) = house.lease(1, version=1)
    with pytest.raises(ValueError, match="tokens of versions 0 to 1: it was leased at version 1"):
        house.buffer.deliver("w", finished(lease, [1, 1, 0]))
    assert house.buffer.count_by_state() == {"trained": 2, "leased": 1}
    assert house.buffer.deliver("w", finished(lease))


def test_a_token_of_a_version_that_does_not_exist_yet_is_refused(house: House) -> None:
    (lease,) = house.lease(1)
    with pytest.raises(ValueError, match=r"tokens of versions 0 to 1: .* 0 is the newest published"):
        house.buffer.deliver("w", finished(lease, [0, 1]))


def test_a_group_may_be_written_by_all_versions_since_its_lease(house: House) -> None:
    slow, *others = house.lease(3)
    for lease in others:
        house.buffer.deliver("w", finished(lease))
    house.train(0)
    assert house.buffer.deliver("w", finished(slow, [0, 0, 1]))


def test_empty_completions_can_be_delivered(house: House) -> None:
    (lease,) = house.lease(1)
    assert house.buffer.deliver("w", finished(lease, []))


def test_a_group_under_the_number_of_another_is_refused(house: House) -> None:
    first, second = house.lease(2)
    with pytest.raises(ValueError, match="group 0 is not what was leased under this number"):
        house.buffer.deliver("w", replace(finished(second), id=first.id))
    with pytest.raises(ValueError, match="group 0 is not what was leased under this number"):
        house.buffer.deliver("w", replace(finished(first), lease_version=-1))
    assert house.buffer.count_by_state() == {"leased": 2}


def test_the_sampler_hears_the_accuracy_of_every_group_with_its_lease_version(house: House) -> None:
    first, second, third, _ = house.lease(4)
    house.buffer.deliver("w", finished(first, grades=(CORRECT, FAILED, WRONG, CORRECT)))
    house.buffer.deliver("w", finished(second, grades=(FAILED, FAILED)))
    house.train(0)
    house.buffer.deliver("w", finished(third, [0, 1]))
    assert house.sampler.accuracy_of(first.problem.id) == pytest.approx(2 / 3)
    assert house.sampler.accuracy_of(second.problem.id) is None
    history = house.sampler.state()["history"]
    assert {problem_id: past["last_version"] for problem_id, past in history.items()} == {
        lease.problem.id: 0 for lease in (first, second, third)
    }


# Leases that end without a group


def test_the_problems_of_a_dead_worker_are_asked_again_and_its_capacity_is_free(house: House) -> None:
    lost, kept = house.lease(3), house.lease(1, "alive")
    assert house.buffer.return_leases("w", "the worker died") == 3
    assert house.buffer.return_leases("w", "the worker died") == 0
    again = house.lease(9, "alive")
    assert [lease.problem for lease in again] == [lease.problem for lease in lost]
    assert [lease.id for lease in again] == [4, 5, 6]
    assert house.buffer.count_by_state() == {"returned": 3, "leased": 4}
    assert house.buffer.deliver("alive", finished(kept[0]))


def test_a_lease_is_taken_back_when_its_time_is_over_and_not_before(house: House) -> None:
    (early,) = house.lease(1)
    house.clock.now += 59.0
    (late,) = house.lease(1)
    assert house.buffer.return_expired() == 0
    house.clock.now += 1.0
    assert house.buffer.return_expired() == 1
    assert not house.buffer.deliver("w", finished(early))
    assert house.buffer.deliver("w", finished(late))
    (again,) = house.lease(1)
    assert again.problem == early.problem
    assert again.expires_at == house.clock.now + 60.0


def test_a_finished_group_does_not_expire(house: House) -> None:
    for lease in house.lease(2):
        house.buffer.deliver("w", finished(lease))
    house.clock.now += 1e6
    assert house.buffer.return_expired() == 0
    assert house.train(0) == [0, 1]


def test_a_problem_that_cannot_be_asked_is_not_asked_again_at_once(house: House) -> None:
    served = [lease.problem.id for lease in house.lease(4)]
    for group_id in range(4):
        house.buffer.discard("w", group_id, "too long", most_in_a_row=5)
    (fifth,) = house.lease(1)
    assert fifth.problem.id not in served
    with closing(sqlite3.connect(house.ledger.path)) as reader:
        assert reader.execute("SELECT DISTINCT state, reason FROM groups WHERE id < 4").fetchall() == [
            ("discarded", "too long")
        ]


def test_discarding_for_ever_is_an_error_and_not_an_endless_run(house: House) -> None:
    def discard_one() -> None:
        (lease,) = house.lease(1)
        house.buffer.discard("w", lease.id, "600 tokens", most_in_a_row=3)

    for _ in range(3):
        discard_one()
    (lease,) = house.lease(1)
    house.buffer.deliver("w", finished(lease))
    for _ in range(3):
        discard_one()
    with pytest.raises(NothingToAskError, match="4 problems in a row had to be discarded; the last: 600 tokens"):
        discard_one()


# Steps and versions


def test_a_step_asked_for_twice_has_the_same_batch(house: House) -> None:
    for lease in house.lease(4):
        house.buffer.deliver("w", finished(lease))
    assert house.buffer.select_batch(0)
    before = contents(house.buffer.batch(0))
    assert house.buffer.select_batch(0)
    assert contents(house.buffer.batch(0)) == before
    assert house.buffer.count_by_state() == {"batched": 2, "ready": 2}
    house.buffer.publish(1)
    assert house.buffer.select_batch(0)
    assert contents(house.buffer.batch(0)) == before


def test_a_step_out_of_turn_has_no_batch(house: House) -> None:
    for lease in house.lease(4):
        house.buffer.deliver("w", finished(lease))
    for step in (-1, 1, 7):
        with pytest.raises(ValueError, match=f"step {step} starts from version {step}, but 0 is the newest"):
            house.buffer.select_batch(step)
    assert house.train(0) == [0, 1]
    with pytest.raises(ValueError, match="step 2 starts from version 2, but 1 is the newest"):
        house.buffer.select_batch(2)
    assert house.train(1) == [2, 3]


def test_a_step_before_the_first_version_has_no_batch(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="step 0 starts from version 0, but -1 is the newest published"):
        House(ledger).buffer.select_batch(0)


def test_versions_are_published_one_by_one(ledger: Ledger) -> None:
    buffer = House(ledger).buffer
    assert buffer.version == -1
    with pytest.raises(ValueError, match="version 1 cannot follow -1"):
        buffer.publish(1)
    buffer.publish(0)
    for version in (-1, 0, 2):
        with pytest.raises(ValueError, match=f"version {version} cannot follow 0"):
            buffer.publish(version)
    with pytest.raises(ValueError, match="version 1 cannot be published: step 0 has no batch"):
        buffer.publish(1)
    assert buffer.version == 0
    assert buffer.count_by_state() == {}


def test_the_life_told_in_the_docstring_of_group_state_is_what_happens(house: House) -> None:
    leases = house.lease(3)
    assert house.buffer.deliver("w", finished(leases[0]))
    assert house.buffer.deliver("w", finished(leases[2]))
    assert house.train(0) == [0, 2]
    (group_3,) = house.lease(1, "other", version=1)
    house.buffer.deliver("other", finished(group_3))
    (group_4,) = house.lease(1, "other", version=1)
    house.buffer.deliver("other", finished(group_4))
    assert not house.buffer.select_batch(1), "step 1 must contain group 1, and waits for it"
    house.buffer.return_leases("w", "the worker died")
    assert house.train(1) == [3, 4]
    (again,) = house.lease(1, "other", version=2)
    assert again.problem == leases[1].problem


def test_a_version_is_recorded_with_the_curriculum_as_it_was_then(house: House) -> None:
    for lease in house.lease(2):
        house.buffer.deliver("w", finished(lease))
    then = house.sampler.state()
    house.train(0)
    house.lease(2, version=1)
    with closing(sqlite3.connect(house.ledger.path)) as reader:
        (text,) = reader.execute("SELECT sampler FROM versions WHERE version = 1").fetchone()
    assert json.loads(text) == then != house.sampler.state()


def test_a_second_run_does_not_continue_in_the_ledger_of_the_first(ledger: Ledger, tmp_path: Path) -> None:
    House(ledger).buffer.publish(0)
    with Ledger(tmp_path / FILE_NAME) as again, pytest.raises(ValueError, match="already holds a run"):
        House(again)


def test_a_message_about_waiting_says_what_is_missing(house: House) -> None:
    lease, _ = house.lease(2)
    house.buffer.deliver("w", finished(lease))
    assert house.buffer.waiting().startswith("version 0, 1 groups ready of 2 per batch, 1 leased")


# When the ledger cannot write


def test_a_question_that_changes_nothing_does_not_wait_for_the_lock_of_another(house: House) -> None:
    house.lease(9)
    with closing(sqlite3.connect(house.ledger.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert house.lease(9) == []
        assert house.buffer.return_expired() == 0
        assert house.buffer.return_leases("somebody else", "gone") == 0
        assert not house.buffer.select_batch(0)


def test_problems_are_not_lost_when_their_leases_cannot_be_written(house: House, full_disk: FullDisk) -> None:
    order = ShuffledSampler(problems(5), seed=0)
    expected = [order.next_problem() for _ in range(3)]
    with full_disk(house.ledger.path), pytest.raises(sqlite3.OperationalError):
        house.lease(3)
    assert house.buffer.count_by_state() == {}
    leases = house.lease(3)
    assert [lease.problem for lease in leases] == expected
    assert [lease.id for lease in leases] == [0, 1, 2]
    assert [lease.id for lease in house.lease(9)] == [3], "what could not be written takes no capacity"


def test_problems_are_not_lost_when_the_sampler_fails_between_them(ledger: Ledger) -> None:
    class Unreadable(ShuffledSampler):
        def next_problem(self) -> Problem:
            if self.state()["position"] == 2 and not self.state()["waiting"]:
                raise OSError("cannot read the third problem")
            return super().next_problem()

    sampler = Unreadable(problems(5), seed=0)
    buffer = ReplayBuffer(ledger, sampler, ReplayConfig(max_staleness=1, groups_per_batch=2), Clock())
    buffer.publish(0)
    with pytest.raises(OSError, match="third problem"):
        buffer.lease("w", 0, 3)
    order = ShuffledSampler(problems(5), seed=0)
    assert [lease.problem for lease in buffer.lease("w", 0, 2)] == [order.next_problem(), order.next_problem()]


def test_a_group_that_could_not_be_written_can_be_delivered_again(house: House, full_disk: FullDisk) -> None:
    group, other = (finished(lease) for lease in house.lease(2))
    house.buffer.deliver("w", other)
    with full_disk(house.ledger.path), pytest.raises(sqlite3.OperationalError):
        house.buffer.deliver("w", group)
    assert house.buffer.count_by_state() == {"leased": 1, "ready": 1}
    assert not house.buffer.select_batch(0)
    assert house.sampler.accuracy_of(group.problem.id) is None
    assert house.buffer.deliver("w", group)
    assert house.train(0) == [0, 1]


def test_a_batch_and_a_version_that_could_not_be_written_can_be_tried_again(
    house: House, full_disk: FullDisk
) -> None:
    for lease in house.lease(4):
        house.buffer.deliver("w", finished(lease))
    with full_disk(house.ledger.path), pytest.raises(sqlite3.OperationalError):
        house.buffer.select_batch(0)
    assert house.buffer.count_by_state() == {"ready": 4}
    assert house.buffer.select_batch(0)
    with full_disk(house.ledger.path), pytest.raises(sqlite3.OperationalError):
        house.buffer.publish(1)
    assert house.buffer.version == 0
    assert house.buffer.count_by_state() == {"batched": 2, "ready": 2}
    house.buffer.publish(1)
    assert house.train(1) == [2, 3]


def test_a_lease_whose_end_could_not_be_written_is_still_held(house: House, full_disk: FullDisk) -> None:
    first, second = house.lease(2)
    house.clock.now += 100.0
    endings: list[Callable[[], object]] = [
        lambda: house.buffer.return_leases("w", "the worker died"),
        lambda: house.buffer.return_lease("w", first.id, "given up"),
        lambda: house.buffer.discard("w", first.id, "too long", most_in_a_row=0),
        house.buffer.return_expired,
    ]
    for end in endings:
        with full_disk(house.ledger.path), pytest.raises(sqlite3.OperationalError):
            end()
    assert house.buffer.count_by_state() == {"leased": 2}
    assert house.sampler.state()["waiting"] == []
    assert [lease.id for lease in house.lease(9)] == [2, 3]
    assert house.buffer.deliver("w", finished(first))
    assert house.buffer.deliver("w", finished(second))
