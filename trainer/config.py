"""Settings of the trainer: its ranks, the loss, the optimizer and what is saved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class LossConfig(BaseModel):
    """Decoupled PPO (arXiv 2505.24298, eq. 5) with clip-higher (DAPO, arXiv 2503.14476)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_low: float = Field(default=0.2, gt=0, lt=1, description="ε below 1 for the ratio theta/prox.")
    clip_high: float = Field(default=0.28, gt=0, description="ε above 1 for the ratio theta/prox (DAPO).")
    max_behaviour_ratio: float = Field(
        default=5.0,
        gt=1,
        description="Bound on the weight prox/behaviour of a token; the rest is cut off and counted.",
    )


class AdvantageConfig(BaseModel):
    """GRPO's group advantage (arXiv 2402.03300), or Dr. GRPO's (arXiv 2503.20783) without the division."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    divide_by_std: bool = Field(
        default=True, description="Divide by the group's standard deviation (GRPO); false is Dr. GRPO."
    )


class OptimizerConfig(BaseModel):
    """AdamW and the schedule of its learning rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="Decay of the two moments.")
    eps: float = Field(default=1e-8, gt=0, description="Added to the root of the second moment.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are scaled down to this norm.")
    warmup_steps: int = Field(default=0, ge=0, description="Linear warm-up, in optimizer steps.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="Course of the learning rate after warm-up, down to zero."
    )


class DeepSpeedConfig(BaseModel):
    """What is handed to DeepSpeed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    zero_stage: Literal[0, 1, 2, 3] = Field(default=0, description="What is sharded over the ranks.")
    offload_optimizer: bool = Field(default=False, description="Keep the optimizer's state in CPU memory.")
    extra: dict[str, Any] = Field(
        default_factory=dict, description="Further keys of DeepSpeed's JSON config, merged in as they are."
    )


class TrainerConfig(BaseModel):
    """Everything under the key `trainer`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0, description="Training steps of the run.")
    ranks: int = Field(default=1, gt=0, description="Trainer actors; data-parallel.")
    minibatches: int = Field(
        default=1,
        gt=0,
        description="Optimizer steps per training step (PPO's mini-batches); groups are dealt to them in turn.",
    )
    tokens_per_microbatch: int = Field(
        gt=0, description="Most tokens, padding included, in one forward pass; at least one sample goes in."
    )
    dtype: Literal["float32", "bfloat16"] = Field(default="bfloat16", description="Weights and activations.")
    seed: int = Field(default=0, ge=0, description="Seed of everything random in the trainer.")
    threads: int | None = Field(default=None, gt=0, description="CPU threads of one rank.")
    num_cpus: float = Field(default=1, ge=0, description="CPUs that Ray reserves for one rank.")
    num_gpus: float = Field(default=0, ge=0, description="GPUs that Ray reserves for one rank.")
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass to save memory."
    )
    start_timeout_seconds: float = Field(default=300, gt=0, description="Bound on the ranks' start.")
    step_timeout_seconds: float = Field(default=1800, gt=0, description="Bound on one training step.")
    batch_timeout_seconds: float = Field(
        default=1800, gt=0, description="Bound on the wait for one batch; past it the run ends with the cause."
    )
    save_every: int | None = Field(
        default=None, gt=0, description="Save a checkpoint every so many steps; null saves at the end only."
    )
    loss: LossConfig = Field(default_factory=LossConfig, description="The policy loss.")
    advantage: AdvantageConfig = Field(default_factory=AdvantageConfig, description="The advantage.")
    optimizer: OptimizerConfig = Field(description="AdamW and its schedule.")
    deepspeed: DeepSpeedConfig = Field(default_factory=DeepSpeedConfig, description="Sharding.")
