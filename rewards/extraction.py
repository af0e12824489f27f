r"""Find the final answer in the text of a completion.

Completions are written by a policy under optimisation, so both searches are linear in the length of
the text whatever it says: a thousand unclosed `\boxed{` cost no more than a thousand words.
"""

import re
from typing import Literal, assert_never

from replay.records import Completion, FinishReason, Grade, Outcome

AnswerFormat = Literal["boxed", "tag"]
"""`boxed` is LaTeX's `\\boxed{...}`; `tag` is `<answer>...</answer>`."""

_SHAPES: dict[AnswerFormat, str] = {"boxed": r"\boxed{...}", "tag": "<answer>...</answer>"}

# An escaped brace, as in \{1, 2\}, is a character of the answer and does not open or close a group;
# after the line break \\ it does. Models also write \\boxed, meaning the one with a single backslash.
_BOXED_OR_BRACE = re.compile(r"(?P<boxed>\\boxed\s{0,8}\{)|\\[{}\\](?!boxed)|(?P<open>\{)|(?P<close>\})")
_OPENING_TAG = "<answer>"
_CLOSING_TAG = "</answer>"


def extract_answer(text: str, answer_format: AnswerFormat) -> str | None:
    """The final answer in `text`, stripped of white space; None if there is none or it is empty."""
    match answer_format:
        case "boxed":
            answer = _last_boxed(text)
        case "tag":
            answer = _last_tagged(text)
        case _:
            assert_never(answer_format)
    return (answer or "").strip() or None


def no_answer(completion: Completion, answer_format: AnswerFormat) -> Grade:
    """The grade of a completion in which `extract_answer` found nothing."""
    reason = f"no {_SHAPES[answer_format]} in the completion"
    if completion.finish_reason is FinishReason.LENGTH:
        reason += ", which was cut off at its token limit"
    return Grade(Outcome.NO_ANSWER, 0.0, reason)


def _last_boxed(text: str) -> str | None:
    r"""The content of the `\boxed{` that opens last among those that are closed."""
    first = text.find(r"\boxed")
    if first < 0:
        return None
    opened: list[int | None] = []
    start, end = -1, -1
    for token in _BOXED_OR_BRACE.finditer(text, first):
        match token.lastgroup:
            case "boxed":
                opened.append(token.end())
            case "open":
                opened.append(None)
            case "close" if opened:
                content = opened.pop()
                if content is not None and content > start:
                    start, end = content, token.start()
    return text[start:end] if end >= 0 else None


def _last_tagged(text: str) -> str | None:
    start = text.rfind(_OPENING_TAG, 0, max(text.rfind(_CLOSING_TAG), 0))
    if start < 0:
        return None
    start += len(_OPENING_TAG)
    return text[start : text.find(_CLOSING_TAG, start)]
