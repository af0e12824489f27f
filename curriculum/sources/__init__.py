"""Where problems come from: one module per kind of source, each with `load` and `check`."""

from __future__ import annotations

from curriculum.config import (
    CurriculumConfig,
    HuggingFaceSourceConfig,
    JsonlSourceConfig,
    ReasoningGymSourceConfig,
)
from curriculum.sources import hugging_face, jsonl, reasoning_gym
from curriculum.sources.errors import SourceError
from replay.records import Problem

__all__ = ["SourceError", "check_source", "load_problems"]


def load_problems(config: CurriculumConfig) -> list[Problem]:
    """All problems of the source with the template applied, in the source's order, duplicates included.

    Raises:
        SourceError: if they cannot be read as configured.
    """
    match config.source:
        case ReasoningGymSourceConfig():
            return reasoning_gym.load(config.source, config.prompt_template)
        case JsonlSourceConfig():
            return jsonl.load(config.source, config.prompt_template)
        case HuggingFaceSourceConfig():
            return hugging_face.load(config.source, config.prompt_template)


def check_source(config: CurriculumConfig) -> None:
    """Look for what would make `load_problems` fail, at the price of a few rows.

    Raises:
        SourceError: with the message that `load_problems` would give.
    """
    match config.source:
        case ReasoningGymSourceConfig():
            reasoning_gym.check(config.source, config.prompt_template)
        case JsonlSourceConfig():
            jsonl.check(config.source, config.prompt_template)
        case HuggingFaceSourceConfig():
            hugging_face.check(config.source, config.prompt_template)
