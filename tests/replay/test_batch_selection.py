from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.selection import select_oldest_first
from replay.staleness import StalenessGate


def test_finished_young_groups_do_not_push_old_ones_over_the_bound() -> None:
    gate = StalenessGate(groups_per_batch=2, max_staleness=2)
    still_written = {2: 0, 3: 0, 4: 0, 5: 0}
    assert select_oldest_first({6: 1, 7: 1}, still_written, 1, gate) is None
    # One of 2..5 is not enough: three would be left for the two places of step 2.
    assert select_oldest_first({2: 0, 6: 1, 7: 1}, {3: 0, 4: 0, 5: 0}, 1, gate) is None
    assert select_oldest_first({2: 0, 5: 0, 6: 1, 7: 1}, {3: 0, 4: 0}, 1, gate) == [2, 5]
    assert select_oldest_first({3: 0, 4: 0, 6: 1, 7: 1}, {}, 2, gate) == [3, 4]
    # Two of them were returned instead: there is room for young ones in step 1.
    assert select_oldest_first({6: 1, 7: 1}, {3: 0, 4: 0}, 1, gate) == [6, 7]


def test_a_group_in_its_last_step_is_not_left_behind() -> None:
    gate = StalenessGate(groups_per_batch=2, max_staleness=1)
    assert select_oldest_first({3: 1, 4: 1}, {2: 0}, 1, gate) is None
    assert select_oldest_first({2: 0, 3: 1, 4: 1}, {}, 1, gate) == [2, 3]


def test_a_step_does_not_wait_for_a_slow_group_that_may_be_trained_later() -> None:
    gate = StalenessGate(groups_per_batch=2, max_staleness=1)
    assert select_oldest_first({0: 0, 2: 0}, {1: 0}, 0, gate) == [0, 2]


def test_a_batch_is_never_made_of_too_few_groups() -> None:
    gate = StalenessGate(groups_per_batch=3, max_staleness=1)
    assert select_oldest_first({0: 0, 1: 0}, {}, 0, gate) is None
    assert select_oldest_first({}, {}, 0, gate) is None


def test_the_order_of_a_batch_does_not_depend_on_who_finished_first() -> None:
    gate = StalenessGate(groups_per_batch=3, max_staleness=1)
    assert select_oldest_first({4: 1, 2: 0, 1: 0, 3: 1}, {}, 1, gate) == [1, 2, 3]
    assert select_oldest_first({3: 1, 1: 0, 4: 1, 2: 0}, {}, 1, gate) == [1, 2, 3]


def test_an_older_lease_version_goes_before_a_smaller_number() -> None:
    """A late engine is admitted after a fast one, so the smaller number need not be the older group."""
    gate = StalenessGate(groups_per_batch=1, max_staleness=1)
    assert select_oldest_first({5: 1, 6: 0}, {}, 1, gate) == [6]
    pairs = StalenessGate(groups_per_batch=2, max_staleness=1)
    assert select_oldest_first({5: 1, 6: 0, 7: 1}, {}, 1, pairs) == [5, 6], "the batch is in order of admission"


@pytest.mark.parametrize(
    ("ready", "leased"), [({0: 0, 1: 0, 2: 0}, {}), ({0: 0}, {1: 0, 2: 0}), ({}, {0: 0, 1: 0, 2: 0})]
)
def test_an_overfull_buffer_is_noticed_before_its_tokens_are_too_old(
    ready: dict[int, int], leased: dict[int, int]
) -> None:
    gate = StalenessGate(groups_per_batch=2, max_staleness=0)
    with pytest.raises(RuntimeError, match="more was admitted than the gate allows"):
        select_oldest_first(ready, leased, 0, gate)


@st.composite
def buffers(draw: st.DrawFn) -> tuple[StalenessGate, int, dict[int, int], dict[int, int]]:
    """Groups in hand at some step that respect the gate, split into finished ones and ones being written."""
    gate = StalenessGate(draw(st.integers(1, 3)), draw(st.integers(0, 4)))
    step = draw(st.integers(0, 5))
    in_hand: dict[int, int] = {}
    admitted = step * gate.groups_per_batch
    versions = draw(st.lists(st.integers(max(0, step - gate.max_staleness), step), max_size=15))
    for version in versions:
        if gate.capacity(admitted, version):
            in_hand[admitted] = version
            admitted += 1
    leased = draw(st.sets(st.sampled_from(sorted(in_hand)))) if in_hand else set()
    ready = {group_id: version for group_id, version in in_hand.items() if group_id not in leased}
    return gate, step, ready, {group_id: in_hand[group_id] for group_id in leased}


@given(buffers())
def test_a_batch_never_leaves_behind_more_than_the_later_steps_can_hold(
    buffer: tuple[StalenessGate, int, dict[int, int], dict[int, int]],
) -> None:
    gate, step, ready, leased = buffer
    chosen = select_oldest_first(ready, leased, step, gate)
    if chosen is None:
        return
    assert len(set(chosen)) == gate.groups_per_batch
    left = {**{group_id: ready[group_id] for group_id in ready if group_id not in chosen}, **leased}
    for later in range(step, step + gate.max_staleness + 2):
        due = sum(gate.last_step(version) <= later for version in left.values())
        assert due <= (later - step) * gate.groups_per_batch


@given(buffers())
def test_a_step_never_waits_when_nothing_is_being_written(
    buffer: tuple[StalenessGate, int, dict[int, int], dict[int, int]],
) -> None:
    gate, step, ready, leased = buffer
    everything = {**ready, **leased}
    chosen = select_oldest_first(everything, {}, step, gate)
    assert (chosen is not None) is (len(everything) >= gate.groups_per_batch)
