"""The course of the learning rate."""

from __future__ import annotations

import math

from trainer.config import OptimizerConfig


def learning_rate_factor(config: OptimizerConfig, optimizer_step: int, total: int) -> float:
    """Factor on the peak rate for optimizer step `optimizer_step`, counted from 0, of `total`.

    Warm-up is linear and reaches the peak at its last step. A linear or cosine course then falls and would
    reach 0 one step after the last.
    """
    if optimizer_step < config.warmup_steps:
        return (optimizer_step + 1) / config.warmup_steps
    progress = (optimizer_step - config.warmup_steps) / max(1, total - config.warmup_steps)
    if config.schedule == "linear":
        return max(0.0, 1.0 - progress)
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return 1.0
