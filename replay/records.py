"""The records that travel the road: problem, completion, grade, group, batch.

They are plain data: numpy arrays and built-in types, no torch, no Ray, no vLLM. Every folder may
import this module and it imports none of them.

Shapes: T is the number of completion tokens, P of prompt tokens, n of completions in a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FinishReason(StrEnum):
    """Why the engine stopped writing a completion."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


class Outcome(StrEnum):
    """What a grader found out. The last three are failures of grading, not of the policy."""

    CORRECT = "correct"
    WRONG = "wrong"
    PARTIAL = "partial"
    NO_ANSWER = "no_answer"
    BAD_FORMAT = "bad_format"
    TIMEOUT = "timeout"
    GRADER_ERROR = "grader_error"
    INFRASTRUCTURE_FAILURE = "infrastructure_failure"

    @property
    def is_failure(self) -> bool:
        """True when nothing is known about the answer, so no score may enter an advantage."""
        return self in _FAILURES


_FAILURES = frozenset({Outcome.TIMEOUT, Outcome.GRADER_ERROR, Outcome.INFRASTRUCTURE_FAILURE})


@dataclass(frozen=True, slots=True)
class Problem:
    """One prompt with what its grader needs.

    `id` is unique over all sources of a run. `metadata` holds JSON values only, since the ledger
    stores it as JSON and graders receive it in another process.
    """

    id: str
    source: str
    prompt: str
    answer: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VersionSpan:
    """Tokens `start` to `end` (exclusive) of a completion were written by policy `version`."""

    version: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """One answer to a problem, exactly as the engine wrote it.

    Attributes:
        token_ids: int32 [T].
        logprobs: float32 [T], natural log of the probability each token was sampled with, after
            temperature and truncation of the distribution (the behaviour policy).
        version_spans: cover [0, T) in order, without gap or overlap.
        finish_reason: why the engine stopped.
        loss_mask: bool [T], true where the token was written by the policy and may be trained on.
        text: the decoded answer, for graders and readers; never tokenised again.

    Raises:
        ValueError: if the lengths differ or the spans do not cover the tokens exactly.
    """

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    version_spans: tuple[VersionSpan, ...]
    finish_reason: FinishReason
    loss_mask: NDArray[np.bool_]
    text: str

    def __post_init__(self) -> None:
        length = len(self.token_ids)
        if len(self.logprobs) != length or len(self.loss_mask) != length:
            raise ValueError(
                f"a completion of {length} tokens has {len(self.logprobs)} logprobs and a loss mask "
                f"of {len(self.loss_mask)}: all three must have one entry per token"
            )
        position = 0
        for span in self.version_spans:
            if span.start != position or span.end <= span.start:
                raise ValueError(f"version spans {self.version_spans} leave a gap or overlap at token {position}")
            position = span.end
        if position != length:
            raise ValueError(f"version spans end at token {position} of {length}")

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def versions(self) -> NDArray[np.int32]:
        """The policy version of every token, int32 [T]."""
        versions = np.empty(len(self.token_ids), dtype=np.int32)
        for span in self.version_spans:
            versions[span.start : span.end] = span.version
        return versions


@dataclass(frozen=True, slots=True)
class Grade:
    """Outcome, score and the reason a person can read.

    `score` is None exactly when `outcome.is_failure`: a failed grader has no opinion.

    Raises:
        ValueError: if a failure carries a score, a verdict carries none, or the score is not finite.
    """

    outcome: Outcome
    score: float | None
    reason: str = ""
    extracted_answer: str | None = None

    def __post_init__(self) -> None:
        if self.outcome.is_failure != (self.score is None):
            raise ValueError(
                f"outcome {self.outcome} with score {self.score}: failures carry no score and every "
                "other outcome carries one"
            )
        if self.score is not None and not np.isfinite(self.score):
            raise ValueError(f"score must be finite, got {self.score}")

    @property
    def is_correct(self) -> bool:
        return self.outcome is Outcome.CORRECT


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A problem and its n graded completions, all sampled under one lease.

    Attributes:
        id: the ledger's number of this group; groups are numbered in the order of admission.
        prompt_token_ids: int32 [P], shared by all completions.
        lease_version: version of the engine when the group was leased; no token is older.
    """

    id: int
    problem: Problem
    prompt_token_ids: NDArray[np.int32]
    completions: tuple[Completion, ...]
    grades: tuple[Grade, ...]
    lease_version: int

    def __post_init__(self) -> None:
        if len(self.completions) != len(self.grades) or not self.completions:
            raise ValueError(f"group {self.id} has {len(self.completions)} completions and {len(self.grades)} grades")

    @property
    def accuracy(self) -> float | None:
        """Share of correct completions among those that could be graded; None if none could."""
        graded = [grade for grade in self.grades if not grade.outcome.is_failure]
        if not graded:
            return None
        return sum(grade.is_correct for grade in graded) / len(graded)

    @property
    def completion_tokens(self) -> int:
        return sum(len(completion) for completion in self.completions)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The groups of training step `step`, which turns version `step` into version `step` + 1."""

    step: int
    groups: tuple[Group, ...]

    def samples(self) -> Iterator[tuple[Group, Completion, Grade]]:
        """Every completion with its group and grade, in a fixed order."""
        for group in self.groups:
            for completion, grade in zip(group.completions, group.grades, strict=True):
                yield group, completion, grade
