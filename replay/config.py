"""Settings of the buffer: how much is admitted ahead of training, and how long a lease lasts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ReplayConfig(BaseModel):
    """Everything under the key `replay`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_staleness: int = Field(
        ge=0,
        description="η of AReaL (arXiv 2505.24298): no token is trained on more than this many versions after "
        "it was written. 0 is synchronous training.",
    )
    groups_per_batch: int = Field(gt=0, description="Problems per training step (B).")
    lease_seconds: float = Field(
        default=1200.0,
        gt=0,
        description="A rollout worker that has not delivered a group this long after its lease loses it.",
    )
