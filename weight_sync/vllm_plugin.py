"""What vLLM loads into its own processes: the snapshot transport under its name.

vLLM's workers are processes that it starts itself, so the transport has to register there. An installed
distribution is found through the entry point `vllm.general_plugins`; code shipped as a working directory
is imported through `worker_extension_cls`. Either way `register` runs before the engine is created.
"""

from __future__ import annotations

BACKEND = "inflight_snapshot"


def register() -> None:
    """Make the backend known to vLLM; calling again has no effect."""
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(
            BACKEND, "weight_sync.snapshot_engine", "SnapshotWeightTransferEngine"
        )
