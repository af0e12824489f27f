"""Who computes what: samples into micro-batches under a token budget, micro-batches onto ranks."""

from __future__ import annotations

from collections.abc import Sequence


def plan_microbatches(lengths: Sequence[int], tokens_per_microbatch: int, ranks: int) -> list[list[list[int]]]:
    """Indices of the samples of every micro-batch of every rank: `plan[rank][microbatch]`.

    A micro-batch is padded to its longest sample, so samples of like length go together, and the padded
    size stays within the budget unless one sample alone exceeds it. Micro-batches are dealt from the
    costliest down, each to the rank with the least to do. All ranks get the same number, since they meet in
    collective operations: missing ones are empty. The plan depends on its arguments only, so that every
    rank can make it alone.

    Raises:
        ValueError: if there are no samples.
    """
    if not lengths:
        raise ValueError("there are no samples to plan for")
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    microbatches: list[list[int]] = [[]]
    for index in order:
        current = microbatches[-1]
        longest = lengths[current[0]] if current else lengths[index]
        if current and longest * (len(current) + 1) > tokens_per_microbatch:
            microbatches.append([])
        microbatches[-1].append(index)

    plan: list[list[list[int]]] = [[] for _ in range(ranks)]
    costs = [0] * ranks
    for microbatch in microbatches:
        rank = min(range(ranks), key=lambda candidate: (costs[candidate], candidate))
        plan[rank].append(microbatch)
        costs[rank] += lengths[microbatch[0]] * len(microbatch)
    most = max(len(share) for share in plan)
    return [share + [[]] * (most - len(share)) for share in plan]
