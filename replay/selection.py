"""Which finished groups make the batch of the next training step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from replay.staleness import StalenessGate


def select_oldest_first(
    ready: Mapping[int, int], leased: Mapping[int, int], step: int, gate: StalenessGate
) -> list[int] | None:
    """Ids of the groups for step `step`, in order of admission; None while the step has to wait.

    Groups leased at the oldest version go first, which is also the order of their last permitted steps. The
    step waits for too few finished groups, and while taking these would leave more groups behind than the
    next steps can hold: then an older group that is still being written has to go first.

    Worked example with B = 2 and η = 2. Groups 0..5 are leased at version 0, so steps 0, 1 and 2 must train
    exactly them. Step 0 takes 0 and 1. Groups 6 and 7 are leased at version 1 and finish before 2..5. Step 1
    waits nevertheless: if it took them, four groups would be due in step 2. It takes the first two of 2..5.

    The wait ends when the older groups are finished or returned. The gate admits at most (v + η + 1)·B groups
    up to lease version v, so that what is in hand always fits before its last steps.

    Args:
        ready: lease version of every finished group, by id.
        leased: lease version of every group still being written, by id.
        step: the training step, equal to the version it starts from.
        gate: the bound.

    Raises:
        RuntimeError: if more groups are in hand than their last steps can hold; the gate was not respected.
    """
    size = gate.groups_per_batch
    if not _fits(map(gate.last_step, [*ready.values(), *leased.values()]), step, size):
        raise RuntimeError(
            f"not all of the groups in hand can be trained from step {step} on within max_staleness "
            f"{gate.max_staleness} and {size} groups per batch: more was admitted than the gate allows"
        )
    if len(ready) < size:
        return None
    order = sorted(ready, key=lambda group_id: (ready[group_id], group_id))
    chosen, rest = order[:size], order[size:]
    if not _fits(map(gate.last_step, [*(ready[group_id] for group_id in rest), *leased.values()]), step + 1, size):
        return None
    return sorted(chosen)


def _fits(last_steps: Iterable[int], first_step: int, groups_per_batch: int) -> bool:
    """Whether steps from `first_step` on can train all these groups, none of them after its last step."""
    return all(
        first_step + position // groups_per_batch <= last_step
        for position, last_step in enumerate(sorted(last_steps))
    )
