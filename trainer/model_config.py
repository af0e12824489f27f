"""Which model is trained: a checkpoint folder, or a tiny one made on the spot."""

from __future__ import annotations

import os
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class TinyModelConfig(BaseModel):
    """A small Llama with a byte-level BPE tokenizer, made from nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_size: int = Field(default=128, gt=0, description="Width.")
    intermediate_size: int = Field(default=512, gt=0, description="Width inside the feed-forward layers.")
    layers: int = Field(default=4, gt=0, description="Depth.")
    heads: int = Field(default=4, gt=0, description="Attention heads; divides hidden_size.")
    vocabulary_size: int = Field(default=512, ge=258, description="Upper bound on the tokens of the BPE.")
    max_position_embeddings: int = Field(default=512, gt=0, description="Longest sequence.")
    rope_theta: float = Field(default=100.0, gt=0, description="Base of the rotary embedding; small for short texts.")
    initializer_range: float = Field(default=0.04, gt=0, description="Standard deviation of the first weights.")
    tie_word_embeddings: bool = Field(default=False, description="Share the embedding with the head.")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        # vLLM's attention on CPU has no kernel for smaller heads.
        if (
            self.hidden_size % self.heads
            or self.hidden_size // self.heads % 16
            or self.hidden_size // self.heads < 32
        ):
            raise ValueError(
                f"heads: {self.heads} must divide hidden_size: {self.hidden_size} into heads of 32, 48, 64 … "
                f"dimensions, as {self.hidden_size} = {max(1, self.hidden_size // 32)} x 32 does"
            )
        return self


class WarmStartConfig(BaseModel):
    """The supervised stage on worked solutions that a made model goes through first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0, description="Optimizer steps.")
    batch_size: int = Field(default=32, gt=0, description="Worked solutions per step.")
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak rate; warms up, then falls linearly.")
    slip_rate: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Probability that a step of a worked solution is off by one or two, and the rest follows "
        "from it: the fallible teacher whose slips reinforcement learning removes.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of weights, batches and slips.")
    threads: int | None = Field(default=None, gt=0, description="CPU threads.")
    timeout_seconds: float = Field(default=1800, gt=0, description="Bound on making and warming the model.")


class ModelConfig(BaseModel):
    """Everything under the key `model`: either `path`, or `tiny` with `warm_start`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = Field(
        default=None, description="Hugging Face checkpoint folder, or a name on the hub, with its tokenizer."
    )
    tiny: TinyModelConfig | None = Field(default=None, description="Make a tiny model instead.")
    warm_start: WarmStartConfig | None = Field(default=None, description="How the tiny model is taught.")

    @field_validator("path")
    @classmethod
    def _home_is_expanded(cls, path: str | None) -> str | None:
        return None if path is None else os.path.expanduser(path)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.tiny is None):
            raise ValueError("give exactly one of model.path (a checkpoint) and model.tiny (make one)")
        if (self.tiny is None) != (self.warm_start is None):
            raise ValueError("model.tiny and model.warm_start belong together: give both or neither")
        return self
