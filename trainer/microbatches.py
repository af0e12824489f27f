"""Who computes what: samples into micro-batches under a token budget, micro-batches onto ranks."""

from __future__ import annotations

from collections.abc import Sequence


def plan_microbatches(lengths: Sequence[int], tokens_per_microbatch: int, ranks: int) -> list[list[list[int]]]:
    """Indices of the samples of every micro-batch of every rank: `plan[rank][microbatch]`.

    A micro-batch is padded to its longest sample, so samples of like length go together, and the padded
    size stays within the budget unless one sample alone exceeds it. The costliest ones are halved until
    their number is a multiple of the ranks. They are dealt in rounds from the costliest down, since the
    ranks meet in collective operations and should then have like work; in a round the rank with the least
    to do gets the most. Where samples are too few to go round, a rank's last micro-batch is empty. The plan
    depends on its arguments only, so that every rank can make it alone.

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

    def cost(microbatch: list[int]) -> int:
        return lengths[microbatch[0]] * len(microbatch)

    while len(microbatches) % ranks and max(len(microbatch) for microbatch in microbatches) > 1:
        costliest = max((microbatch for microbatch in microbatches if len(microbatch) > 1), key=cost)
        microbatches.remove(costliest)
        middle = len(costliest) // 2
        microbatches += [costliest[:middle], costliest[middle:]]
    microbatches.sort(key=cost, reverse=True)

    plan: list[list[list[int]]] = [[] for _ in range(ranks)]
    costs = [0] * ranks
    for start in range(0, len(microbatches), ranks):
        least_loaded_first = sorted(range(ranks), key=lambda rank: (costs[rank], rank))
        for position, rank in enumerate(least_loaded_first, start):
            microbatch = microbatches[position] if position < len(microbatches) else []
            plan[rank].append(microbatch)
            costs[rank] += cost(microbatch) if microbatch else 0
    return plan
