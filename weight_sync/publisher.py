"""The trainer's side: every version becomes a snapshot that engines load when they are ready."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from weight_sync.snapshot import TensorLayout, write_snapshot

KEPT_SNAPSHOTS = 2


class SnapshotPublisher:
    """Writes snapshots in shared memory and removes old ones. It never waits for an engine.

    An engine that opened a snapshot keeps reading it after its removal, since the memory lives until the
    last reader closes it. One that comes too late to open it asks the buffer for the newest version
    instead. Two snapshots are kept so that this is rare:

        publish(6)   version-5, version-6     engine A loads 6
        publish(7)   version-6, version-7     engine B, slow, still opens 6 or goes straight to 7
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._kept: list[Path] = []

    def publish(self, version: int, layout: Sequence[TensorLayout], tensors: Iterable[torch.Tensor]) -> Path:
        """Write version `version`; the path is complete and stays until two newer ones exist."""
        path = self._directory / f"version-{version}.safetensors"
        write_snapshot(path, layout, tensors, version)
        self._kept = [*(kept for kept in self._kept if kept != path), path]
        while len(self._kept) > KEPT_SNAPSHOTS:
            self._kept.pop(0).unlink(missing_ok=True)
        return path
