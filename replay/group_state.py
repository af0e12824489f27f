"""The life of a group."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from replay.records import Problem


class GroupState(StrEnum):
    """Where a group is. Every arrow is one transaction of the ledger.

        lease ──▶ LEASED ──deliver──▶ READY ──select──▶ BATCHED ──publish──▶ TRAINED
                    │
                    ├──return (worker lost, lease expired)──▶ RETURNED   its problem is asked again
                    └──discard (cannot be asked)───────────▶ DISCARDED  with the reason

    Worked example with B = 2, η = 1: worker w is leased groups 0, 1, 2 at version 0. It delivers 0 and 2,
    which become READY. Step 0 needs two finished groups and takes them, although group 1 is still being
    written: its last permitted step is 1. They become BATCHED, and TRAINED when version 1 is published.
    Step 1 must contain group 1, and waits for it. If w dies instead, its lease is RETURNED: the
    problem of group 1 is leased again as group 3, at version 1, and step 1 need not wait for group 1.
    """

    LEASED = "leased"
    READY = "ready"
    BATCHED = "batched"
    TRAINED = "trained"
    RETURNED = "returned"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class LeasedGroup:
    """The right of one rollout worker to produce one group.

    Attributes:
        id: number of the group, in order of admission.
        worker: who holds the lease.
        lease_version: version loaded in the worker's engine when the group was leased.
        expires_at: time of the buffer's clock, in seconds, after which the lease may be returned.
    """

    id: int
    problem: Problem
    worker: str
    lease_version: int
    expires_at: float
