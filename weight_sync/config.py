"""Settings of the way from the trainer's weights into the engines."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class WeightSyncConfig(BaseModel):
    """Everything under the key `weight_sync`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directory: str = Field(
        default="/dev/shm",
        description="Where snapshots of the weights are written for the engines, which share the trainer's host; "
        "best in shared memory.",
    )
    kv_cache: Literal["recompute", "keep"] = Field(
        default="recompute",
        description="What happens to the KV cache of running completions at an update: recompute it under the "
        "new weights (AReaL), or keep the stale one (PipelineRL).",
    )
    timeout_seconds: float = Field(default=120, gt=0, description="Bound on one update of one engine.")
