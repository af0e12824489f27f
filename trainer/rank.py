"""One trainer rank as a Ray actor."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import ray

from replay.records import Batch
from trainer.config import TrainerConfig


class TrainerRank:
    """Trains, publishes and saves as it is told; the ranks are called together.

    Made into an actor by the run with `ray.remote(TrainerRank)`. Heavy imports happen in `start`, so that
    a wrong environment is reported by a call and not by a dead actor.

    Args:
        rank: number of this rank.
        config: the trainer's settings.
        temperature: that completions are sampled with.
    """

    def __init__(self, rank: int, config: TrainerConfig, temperature: float) -> None:
        self._rank = rank
        self._config = config
        self._temperature = temperature
        self._version = 0

    def rendezvous(self) -> tuple[str, int]:
        """Address and free port on this rank's node, where the ranks can meet."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            port: int = probe.getsockname()[1]
        return ray.util.get_node_ip_address(), port

    def start(self, model_path: str, snapshot_directory: str, address: str, port: int) -> None:
        """Load the model and meet the other ranks."""
        os.environ.update(
            MASTER_ADDR=address,
            MASTER_PORT=str(port),
            RANK=str(self._rank),
            LOCAL_RANK="0",
            WORLD_SIZE=str(self._config.ranks),
        )
        import torch
        from transformers import AutoTokenizer

        from trainer.deepspeed_engine import DeepSpeedModel, join_process_group
        from trainer.training_step import TrainingStep
        from weight_sync.publisher import SnapshotPublisher

        if self._config.threads is not None:
            torch.set_num_threads(self._config.threads)
        torch.manual_seed(self._config.seed)
        self._tokenizer = AutoTokenizer.from_pretrained(model_path)
        padding_id = self._tokenizer.pad_token_id
        if padding_id is None:
            padding_id = self._tokenizer.eos_token_id or 0
        join_process_group(self._config)
        self._model = DeepSpeedModel(model_path, self._config)
        self._step = TrainingStep(self._model, self._config, self._rank, self._temperature, padding_id)
        self._publisher = SnapshotPublisher(Path(snapshot_directory)) if self._rank == 0 else None

    def train(self, batch: Batch) -> dict[str, float]:
        """One training step; the weights are then those of version `batch.step` + 1.

        Raises:
            ValueError: if the batch is not that of the version held here.
        """
        if batch.step != self._version:
            raise ValueError(f"rank {self._rank} holds version {self._version} and was given step {batch.step}")
        began = time.monotonic()
        metrics = self._step.run(batch)
        self._version += 1
        metrics["train_seconds"] = time.monotonic() - began
        return metrics

    def publish(self) -> tuple[int, str, float]:
        """Write the held version as a snapshot: version, path (empty but on rank 0), seconds."""
        began = time.monotonic()
        path = ""
        if self._publisher is not None:
            path = str(self._publisher.publish(self._version, self._model.layout(), self._model.tensors()))
        else:
            for _ in self._model.tensors():
                pass
        return self._version, path, time.monotonic() - began

    def save(self, parent: str) -> tuple[int, str]:
        """A Hugging Face checkpoint with tokenizer in `parent`/step-v, complete or not there at all.

        Returns:
            The held version v, which is the number of steps trained, and the folder.
        """
        directory = os.path.join(parent, f"step-{self._version}")
        partial = f"{directory}.partial"
        if self._rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
        self._model.save_pretrained(partial, write=self._rank == 0)
        if self._rank == 0:
            self._tokenizer.save_pretrained(partial)
            shutil.rmtree(directory, ignore_errors=True)
            os.replace(partial, directory)
        return self._version, directory

    def logprobs(self, batch: Batch) -> list[list[float]]:
        """Logprobs of every completion's tokens under the held weights; for checks against the engine."""
        return [logprobs.tolist() for logprobs in self._step.logprobs(batch)]
