"""Records to and from the columns of the ledger: arrays as raw bytes, everything else as text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.records import Completion, FinishReason, Grade, Outcome, Problem, VersionSpan

# Little-endian whatever the machine, so that a ledger can be read anywhere.
_INT32 = np.dtype("<i4")
_FLOAT32 = np.dtype("<f4")


def tokens_to_bytes(token_ids: NDArray[np.int32]) -> bytes:
    """int32 [T] as 4·T little-endian bytes."""
    return token_ids.astype(_INT32, copy=False).tobytes()


def tokens_from_bytes(data: bytes) -> NDArray[np.int32]:
    """Inverse of `tokens_to_bytes`; read-only."""
    return np.frombuffer(data, dtype=_INT32).astype(np.int32, copy=False)


def storable(text: str) -> str:
    """The text as SQLite can hold it: half of a surrogate pair, which no UTF-8 has, becomes `\\udc80`.

    A tokenizer never decodes to one, but a problem read from JSON or a grader's reason may hold one.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def problem_to_row(problem: Problem) -> tuple[str, str, str, str | None, str]:
    """Columns id, source, prompt, answer, metadata."""
    answer = None if problem.answer is None else storable(problem.answer)
    return problem.id, problem.source, storable(problem.prompt), answer, json.dumps(problem.metadata)


def problem_from_row(row: tuple[Any, ...]) -> Problem:
    """Inverse of `problem_to_row`."""
    problem_id, source, prompt, answer, metadata = row
    return Problem(problem_id, source, prompt, answer, json.loads(metadata))


def completion_to_row(completion: Completion, grade: Grade) -> tuple[Any, ...]:
    """Columns of `completions` after group_id and position."""
    return (
        tokens_to_bytes(completion.token_ids),
        completion.logprobs.astype(_FLOAT32, copy=False).tobytes(),
        np.packbits(completion.loss_mask).tobytes(),
        json.dumps([[span.version, span.start, span.end] for span in completion.version_spans]),
        str(completion.finish_reason),
        storable(completion.text),
        str(grade.outcome),
        # SQLite would keep a float32 of numpy as raw bytes.
        None if grade.score is None else float(grade.score),
        storable(grade.reason),
        None if grade.extracted_answer is None else storable(grade.extracted_answer),
    )


def completion_from_row(row: tuple[Any, ...]) -> tuple[Completion, Grade]:
    """Inverse of `completion_to_row`."""
    token_ids, logprobs, loss_mask, spans, finish_reason, text, outcome, score, reason, extracted = row
    tokens = tokens_from_bytes(token_ids)
    mask = np.unpackbits(np.frombuffer(loss_mask, dtype=np.uint8), count=len(tokens)).astype(np.bool_)
    completion = Completion(
        token_ids=tokens,
        logprobs=np.frombuffer(logprobs, dtype=_FLOAT32).astype(np.float32, copy=False),
        version_spans=tuple(VersionSpan(*span) for span in json.loads(spans)),
        finish_reason=FinishReason(finish_reason),
        loss_mask=mask,
        text=text,
    )
    return completion, Grade(Outcome(outcome), score, reason, extracted)
