from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from replay.records import Completion, FinishReason, VersionSpan
from rewards import RewardsConfig


@pytest.fixture(scope="session")
def completion() -> Callable[..., Completion]:
    def make(text: str, finish_reason: FinishReason = FinishReason.STOP) -> Completion:
        return Completion(
            token_ids=np.arange(3, dtype=np.int32),
            logprobs=np.zeros(3, dtype=np.float32),
            version_spans=(VersionSpan(0, 0, 3),),
            finish_reason=finish_reason,
            loss_mask=np.ones(3, dtype=np.bool_),
            text=text,
        )

    return make


@pytest.fixture(scope="session")
def grader_config() -> Callable[..., RewardsConfig]:
    """Two processes with the grader that misbehaves on request."""
    plug_in = Path(__file__).with_name("misbehaving_grader.py")

    def make(**changes: Any) -> RewardsConfig:
        keys = {
            "grader": f"{plug_in}:judge",
            "processes": 2,
            "timeout_seconds": 2.0,
            "memory_limit_mib": 1024,
        }
        return RewardsConfig(**{**keys, **changes})

    return make


@pytest.fixture(scope="session")
def grader_processes() -> Callable[..., list[psutil.Process]]:
    """The spawned children; multiprocessing's resource tracker belongs to the parent, not to a pool."""

    def find(parent: psutil.Process | None = None) -> list[psutil.Process]:
        children = (parent or psutil.Process()).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    return find
