from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from curriculum.sampler import ShuffledSampler
from curriculum.sampler_protocol import Sampler
from replay.records import Problem


def problems(count: int) -> list[Problem]:
    return [Problem(id=f"test/{number}", source="test", prompt=f"{number}?") for number in range(count)]


def serve(sampler: Sampler, count: int) -> list[str]:
    return [sampler.next_problem().id for _ in range(count)]


class EveryProblemOncePerEpoch(RuleBasedStateMachine):
    """Any interleaving of serving, giving back, observing and restarting from a checkpoint."""

    @initialize(count=st.integers(1, 6), seed=st.integers(0, 3))
    def start(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.sampler = ShuffledSampler(problems(count), seed)
        self.served: Counter[str] = Counter()
        self.waiting: list[str] = []
        self.save()

    @rule()
    def next_problem(self) -> None:
        problem_id = self.sampler.next_problem().id
        if self.waiting:
            assert problem_id == self.waiting.pop(0)
        self.served[problem_id] += 1

    @precondition(lambda self: self.served.total() > 0)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        problem_id = data.draw(st.sampled_from(sorted(self.served.elements())))
        self.sampler.give_back(problem_id)
        self.served[problem_id] -= 1
        self.waiting.append(problem_id)

    @rule(number=st.integers(0, 5), accuracy=st.none() | st.floats(0, 1), version=st.integers(0, 9))
    def observe(self, number: int, accuracy: float | None, version: int) -> None:
        self.sampler.observe(f"test/{number % self.count}", accuracy, version)

    @rule()
    def save(self) -> None:
        self.saved: tuple[str, Counter[str], list[str]] = (
            json.dumps(self.sampler.state()),
            self.served.copy(),
            list(self.waiting),
        )

    @rule()
    def restart_from_what_was_saved(self) -> None:
        text, self.served, self.waiting = self.saved[0], self.saved[1].copy(), list(self.saved[2])
        self.sampler = ShuffledSampler(problems(self.count), self.seed)
        self.sampler.restore(json.loads(text))
        assert json.dumps(self.sampler.state()) == text

    @invariant()
    def every_problem_was_served_as_often_as_its_epochs_say(self) -> None:
        if not hasattr(self, "sampler"):
            return
        total = self.served + Counter(self.waiting)
        epochs = self.sampler.epoch
        assert all(epochs <= total[problem.id] <= epochs + 1 for problem in problems(self.count))
        assert total.total() == epochs * self.count + self.sampler.state()["position"]


TestEveryProblemOncePerEpoch = EveryProblemOncePerEpoch.TestCase
TestEveryProblemOncePerEpoch.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_epochs_are_different_permutations_that_depend_on_the_seed() -> None:
    sampler = ShuffledSampler(problems(20), seed=1)
    epochs = [serve(sampler, 20) for _ in range(3)]
    everything = sorted(problem.id for problem in problems(20))
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert serve(ShuffledSampler(problems(20), seed=1), 60) == [*epochs[0], *epochs[1], *epochs[2]]
    assert serve(ShuffledSampler(problems(20), seed=2), 20) != epochs[0]


def test_what_is_given_back_after_the_epoch_ended_is_still_served() -> None:
    sampler = ShuffledSampler(problems(3), seed=0)
    first = serve(sampler, 3)
    serve(sampler, 1)
    sampler.give_back(first[2])
    sampler.give_back(first[0])
    assert serve(sampler, 2) == [first[2], first[0]]


def test_giving_back_what_was_not_served_is_refused() -> None:
    sampler = ShuffledSampler(problems(3), seed=0)
    with pytest.raises(ValueError, match="'test/0' was served 0 times"):
        sampler.give_back("test/0")
    served = sampler.next_problem().id
    sampler.give_back(served)
    with pytest.raises(ValueError, match="served 1 times and given back more often"):
        sampler.give_back(served)
    with pytest.raises(ValueError, match="'test/9' is not one of the 3"):
        sampler.give_back("test/9")


def test_accuracy_is_the_mean_of_graded_groups_and_survives_a_restart() -> None:
    sampler = ShuffledSampler(problems(2), seed=0)
    assert sampler.accuracy_of("test/0") is None
    sampler.observe("test/0", None, version=1)
    assert sampler.accuracy_of("test/0") is None
    sampler.observe("test/0", 0.5, version=7)
    sampler.observe("test/0", 1.0, version=4)
    state = json.loads(json.dumps(sampler.state()))
    assert state["history"] == {"test/0": {"graded": 2, "mean": 0.75, "ungraded": 1, "last_version": 7}}
    resumed = ShuffledSampler(problems(2), seed=0)
    resumed.restore(state)
    assert resumed.accuracy_of("test/0") == 0.75
    resumed.observe("test/0", 0.0, version=8)
    assert (resumed.accuracy_of("test/0"), sampler.accuracy_of("test/0")) == (0.5, 0.75)
    with pytest.raises(ValueError, match=r"accuracy must be in \[0, 1\]"):
        sampler.observe("test/1", 1.5, version=0)
    with pytest.raises(ValueError, match="not one of"):
        sampler.observe("test/2", 1.0, version=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "saved with seed 1, not 0"),
        ({"position": 99}, "outside 0 to 4"),
        ({"order": "0" * 64}, "other problems or another order"),
        ({"waiting": ["test/9"]}, "'test/9' is not one of"),
        ({"history": {"test/0": {"accuracy": 1}}}, "not the history of a problem"),
        ({"history": None}, "was not written by `state`"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change: dict[str, Any], message: str) -> None:
    sampler = ShuffledSampler(problems(4), seed=0)
    serve(sampler, 6)
    before = sampler.state()
    with pytest.raises(ValueError, match=message):
        sampler.restore({**before, **change})
    with pytest.raises(ValueError, match="KeyError"):
        sampler.restore({"seed": 0})
    assert sampler.state() == before


def test_a_state_over_other_problems_is_refused() -> None:
    state = ShuffledSampler(problems(4), seed=0).state()
    for others in (problems(5), problems(5)[1:], problems(4)[::-1]):
        with pytest.raises(ValueError, match=r"the same curriculum\.source"):
            ShuffledSampler(others, seed=0).restore(state)


def test_nothing_to_sample_and_repeated_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="no problems"):
        ShuffledSampler([], seed=0)
    with pytest.raises(ValueError, match="share an id"):
        ShuffledSampler(problems(2) + problems(1), seed=0)
