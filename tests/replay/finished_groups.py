"""Problems, completions and groups with contents that can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from replay.group_state import LeasedGroup
from replay.records import Batch, Completion, FinishReason, Grade, Group, Outcome, Problem, VersionSpan

CORRECT = Grade(Outcome.CORRECT, 1.0, "equal", "4")
WRONG = Grade(Outcome.WRONG, 0.0, "not equal", "5")
FAILED = Grade(Outcome.TIMEOUT, None, "took too long")


def problems(count: int) -> list[Problem]:
    return [Problem(f"test/{number}", "test", f"{number}+{number}?", str(2 * number)) for number in range(count)]


def spans_of(versions: Sequence[int]) -> tuple[VersionSpan, ...]:
    """Spans of a completion whose token i was written by version `versions[i]`."""
    spans, start = [], 0
    for version, run in groupby(versions):
        end = start + len(list(run))
        spans.append(VersionSpan(version, start, end))
        start = end
    return tuple(spans)


def completion(
    versions: Sequence[int], token: int = 7, finish_reason: FinishReason = FinishReason.STOP, text: str = "four"
) -> Completion:
    """A completion whose token i was written by version `versions[i]`; its token ids count up from `token`."""
    length = len(versions)
    return Completion(
        token_ids=np.arange(token, token + length, dtype=np.int32),
        logprobs=-np.arange(1, length + 1, dtype=np.float32) / 8,
        version_spans=spans_of(versions),
        finish_reason=finish_reason,
        loss_mask=np.arange(length) % 3 != 1,
        text=text,
    )


def finished(
    lease: LeasedGroup, versions: Sequence[int] | None = None, grades: Sequence[Grade] = (CORRECT, WRONG)
) -> Group:
    """What a worker delivers for a lease, its tokens written by `versions` or else by the lease's version."""
    written_by = [lease.lease_version] * 3 if versions is None else versions
    return Group(
        id=lease.id,
        problem=lease.problem,
        prompt_token_ids=np.array([1, 2, lease.id], dtype=np.int32),
        completions=tuple(completion(written_by, token=100 * lease.id + place) for place in range(len(grades))),
        grades=tuple(grades),
        lease_version=lease.lease_version,
    )


def contents(record: Any) -> Any:
    """Everything in a completion, group or batch as built-in values, so that two can be compared."""
    match record:
        case Batch():
            return record.step, [contents(group) for group in record.groups]
        case Group():
            completions = [contents(completion) for completion in record.completions]
            prompt = (record.prompt_token_ids.dtype.str, record.prompt_token_ids.tolist())
            return record.id, record.problem, prompt, completions, record.grades, record.lease_version
        case Completion():
            arrays = [
                (array.dtype.str, array.tobytes()) for array in (record.token_ids, record.logprobs, record.loss_mask)
            ]
            return arrays, record.version_spans, record.finish_reason, record.text
    raise TypeError(type(record).__name__)
