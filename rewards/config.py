"""The `rewards` part of a run's configuration."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class RewardsConfig(BaseModel):
    """Which grader judges the completions, and what each of its processes may use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grader: str = Field(
        default="math_verify",
        description="A built-in grader (math_verify, reasoning_gym), an entry point of the group "
        "inflight.graders, package.module:name, or path/to/file.py:name.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Keyword arguments of the grader: of its constructor if it is a class, of every "
        "call if it is a function.",
    )
    processes: int = Field(
        default=1,
        ge=1,
        description="Grader processes of one pool; each grades one group at a time.",
    )
    timeout_seconds: float = Field(
        default=5.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds one completion may take before its process is killed and its outcome is timeout.",
    )
    start_timeout_seconds: float = Field(
        default=120.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds a grader process may take to start and to construct the grader.",
    )
    memory_limit_mib: int | None = Field(
        default=2048,
        ge=64,
        description="MiB of data one grader process may hold (RLIMIT_DATA, Linux only); null for no limit.",
    )
