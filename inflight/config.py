"""The whole configuration of a run, and the keys of the parts that belong to `inflight/` itself."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from curriculum.config import CurriculumConfig
from inflight.combinations import contradictions
from inflight.refusal import RunRefusedError
from replay.config import ReplayConfig
from rewards.config import RewardsConfig
from rollout.config import RolloutConfig
from trainer.config import TrainerConfig
from trainer.model_config import ModelConfig
from weight_sync.config import WeightSyncConfig


class EvaluationConfig(BaseModel):
    """Everything under the key `evaluation`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int = Field(
        ge=0,
        description="Held-out problems asked before and after training; 0 for no evaluation, at most "
        "curriculum.held_out.",
    )
    samples_per_problem: int = Field(default=1, ge=1, description="Completions per problem; pass@1 is their mean.")
    temperature: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="Divides the logits; 1 measures the policy that is trained.",
    )
    max_tokens: int | None = Field(
        default=None, gt=0, description="Longest answer, in tokens; null takes rollout.sampling.max_tokens."
    )
    timeout_seconds: float = Field(
        default=600,
        gt=0,
        allow_inf_nan=False,
        description="Bound on one evaluation; past it the run ends with the cause.",
    )


class ClusterConfig(BaseModel):
    """Everything under the key `cluster`: the Ray that the actors run on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = Field(
        default=None,
        min_length=1,
        description="Address of a running Ray, or auto. null: what RAY_ADDRESS names if it is set, else a Ray "
        "that is started here and stopped at the end.",
    )
    num_cpus: int | None = Field(
        default=None, gt=0, description="CPUs of a Ray that is started here; null for all of the machine's."
    )
    connect_timeout_seconds: float = Field(
        default=30, gt=0, allow_inf_nan=False, description="Bound on reaching a running Ray."
    )


class TrackingConfig(BaseModel):
    """Where metrics go besides `metrics.jsonl`, which is always written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensorboard: bool = Field(default=True, description="Write TensorBoard event files into run.dir.")
    wandb_project: str | None = Field(
        default=None, min_length=1, description="Weights & Biases project to log to; null for none."
    )


class RunConfig(BaseModel):
    """Everything under the key `run`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dir: str = Field(
        min_length=1, description="Folder of this run: config, ledger, metrics, checkpoints. Must be new."
    )
    tracking: TrackingConfig = Field(default_factory=TrackingConfig, description="Where metrics go.")
    shutdown_timeout_seconds: float = Field(
        default=8,
        gt=0,
        allow_inf_nan=False,
        description="How long actors may take to stop on their own; then they are killed.",
    )

    @field_validator("dir")
    @classmethod
    def _home_is_a_folder(cls, folder: str) -> str:
        # A shell leaves the ~ of run.dir=~/runs as it is.
        return str(Path(folder).expanduser())


class ContradictionError(RunRefusedError):
    """Keys that are valid one by one and cannot work together."""

    headline = "The configuration contradicts itself"


class Config(BaseModel):
    """Every key of a run. What validates here can be started; `inflight.preflight` then looks at the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig = Field(description="Which model is trained.")
    curriculum: CurriculumConfig = Field(description="Which problems, how worded, how many held out.")
    rewards: RewardsConfig = Field(default_factory=RewardsConfig, description="Which grader.")
    rollout: RolloutConfig = Field(description="The engines that write completions.")
    replay: ReplayConfig = Field(description="The buffer: staleness and batch size.")
    trainer: TrainerConfig = Field(description="Ranks, loss and optimizer.")
    weight_sync: WeightSyncConfig = Field(default_factory=WeightSyncConfig, description="New weights to the engines.")
    evaluation: EvaluationConfig = Field(description="Accuracy on held-out problems.")
    cluster: ClusterConfig = Field(default_factory=ClusterConfig, description="The Ray to run on.")
    run: RunConfig = Field(description="Folder, tracking, shutdown.")

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        reasons = contradictions(self)
        if reasons:
            raise ContradictionError(reasons)
        return self
