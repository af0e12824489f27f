"""The engine's side: load a snapshot into a running vLLM model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from safetensors import safe_open
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload


@dataclass
class SnapshotInitInfo(WeightTransferInitInfo):
    """Nothing has to be agreed on beforehand."""


@dataclass
class SnapshotUpdateInfo(WeightTransferUpdateInfo):
    """Where the snapshot is and which version it must hold."""

    path: str
    version: int


class SnapshotWeightTransferEngine(WeightTransferEngine[SnapshotInitInfo, SnapshotUpdateInfo]):
    """Loads a whole checkpoint in Hugging Face names from one safetensors file.

    Runs in vLLM's worker process while generation is paused.
    """

    init_info_cls = SnapshotInitInfo
    update_info_cls = SnapshotUpdateInfo

    def init_transfer_engine(self, init_info: SnapshotInitInfo) -> None:
        """No connection is needed."""

    def start_weight_update(self) -> None:
        """Nothing is touched before the snapshot is open; see `receive_weights`."""

    def receive_weights(self, update_info: SnapshotUpdateInfo) -> None:
        """Load the snapshot, layer by layer, through vLLM's own weight loaders.

        Raises:
            FileNotFoundError: if there is no snapshot; the model keeps its weights.
            ValueError: if the file holds another version.
        """
        with safe_open(update_info.path, framework="pt") as snapshot:
            found = snapshot.metadata().get("version")
            if found != str(update_info.version):
                raise ValueError(f"{update_info.path} holds version {found}, expected {update_info.version}")
            # The CPU backend repacks linear weights at load time and frees the originals, so plain
            # load_weights has nothing to copy into. The layerwise reload restores them, loads, repacks.
            initialize_layerwise_reload(self.model)
            self.model.load_weights(_tensors(snapshot))
            finalize_layerwise_reload(self.model, self.model_config)
        self._repack_tied_head()

    def _repack_tied_head(self) -> None:
        """Give a tied head the new embedding: its repacked copy on CPU does not follow by itself."""
        if not getattr(self.model_config.hf_config, "tie_word_embeddings", False):
            return
        head = getattr(self.model, "lm_head", None)
        body = getattr(self.model, "model", None)
        embedding = getattr(body, "embed_tokens", None)
        if head is None or embedding is None or not hasattr(head, "quant_method"):
            return
        head.weight = embedding.weight
        head.quant_method.process_weights_after_loading(head)

    def finish_weight_update(self) -> None:
        """All was done while receiving."""

    def shutdown(self) -> None:
        """Nothing is held between updates."""


def _tensors(snapshot: safe_open) -> Iterator[tuple[str, torch.Tensor]]:
    for name in snapshot.keys():  # noqa: SIM118 - a safe_open is no mapping
        yield name, snapshot.get_tensor(name)
