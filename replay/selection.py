"""Which finished groups make the batch of the next training step."""

from __future__ import annotations

from collections.abc import Mapping

from replay.staleness import StalenessGate


def select_oldest_first(
    ready: Mapping[int, int], leased: Mapping[int, int], step: int, gate: StalenessGate
) -> list[int] | None:
    """Ids of the groups for step `step`, in order of admission; None while the step has to wait.

    Groups leased at the oldest version go first. The step waits for too few finished groups, and for a
    group still being written whose last permitted step is this one: taking others in its place would push
    it over the staleness bound. There are never more than B groups whose last step is `step`, because the
    gate admits at most (step + 1)·B groups up to that lease version and step·B of them are trained.

    Args:
        ready: lease version of every finished group, by id.
        leased: lease version of every group still being written, by id.
        step: the training step, equal to the version it starts from.
        gate: the bound.

    Raises:
        RuntimeError: if more groups are due than a batch can hold; the gate was not respected.
    """
    if any(gate.last_step(version) <= step for version in leased.values()):
        return None
    if len(ready) < gate.groups_per_batch:
        return None
    order = sorted(ready, key=lambda group_id: (ready[group_id], group_id))
    chosen, rest = order[: gate.groups_per_batch], order[gate.groups_per_batch :]
    if rest and gate.last_step(ready[rest[0]]) <= step:
        raise RuntimeError(
            f"group {rest[0]} was leased at version {ready[rest[0]]} and cannot be trained by step {step} "
            f"within max_staleness {gate.max_staleness}: more was admitted than the gate allows"
        )
    return sorted(chosen)
