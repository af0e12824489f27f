from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.staleness import StalenessGate


@given(
    groups_per_batch=st.integers(1, 5),
    max_staleness=st.integers(0, 4),
    engine_version=st.integers(0, 6),
    admitted=st.integers(0, 60),
)
def test_capacity_is_the_published_rule_without_an_off_by_one(
    groups_per_batch: int, max_staleness: int, engine_version: int, admitted: int
) -> None:
    """Admits one by one while ⌊admitted / B⌋ ≤ v + η, as the rule is written."""
    more = 0
    while (admitted + more) // groups_per_batch <= engine_version + max_staleness:
        more += 1
    assert StalenessGate(groups_per_batch, max_staleness).capacity(admitted, engine_version) == more


def test_the_worked_example_of_the_docstring_holds() -> None:
    gate = StalenessGate(groups_per_batch=2, max_staleness=1)
    assert gate.capacity(admitted=0, engine_version=0) == 4
    assert gate.capacity(admitted=4, engine_version=0) == 0
    assert gate.capacity(admitted=4, engine_version=1) == 2
    assert gate.last_step(0) == 1


@pytest.mark.parametrize("groups_per_batch", [1, 3])
def test_synchronous_training_starts_no_group_before_the_last_step_is_loaded(groups_per_batch: int) -> None:
    gate = StalenessGate(groups_per_batch, max_staleness=0)
    for version in range(4):
        assert gate.capacity(version * groups_per_batch, version) == groups_per_batch
        assert gate.capacity((version + 1) * groups_per_batch, version) == 0
        assert gate.last_step(version) == version


def test_a_late_engine_never_has_negative_capacity() -> None:
    assert StalenessGate(groups_per_batch=2, max_staleness=1).capacity(admitted=40, engine_version=3) == 0
