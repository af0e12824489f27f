"""The prompt template: one marker, and every other brace is what it looks like.

`str.format` is not used because prompts in this field are full of LaTeX such as `\\boxed{}`, which
it would take for a placeholder.
"""

from __future__ import annotations

import re

MARKER = "{question}"

_LATEX_COMMAND = re.compile(r"\\[A-Za-z]+\*?(?:\[[^\[\]]*\])?(?:\{[^{}]*\})+")
_FIELD = re.compile(r"\{\s*([A-Za-z_]\w*)\s*\}")


def check_template(template: str) -> None:
    r"""Refuse a template that would not be filled in as its author meant.

    The arguments of LaTeX commands (`\boxed{answer}`) are literal; any other `{name}` is a field that
    nothing would fill.

    Raises:
        ValueError: if the marker is missing or doubled, or another field is named.
    """
    if MARKER not in template:
        raise ValueError(f"the template {template!r} must contain {MARKER}, where the question goes")
    if "{{question}}" in template:
        raise ValueError("write {question} with single braces: braces are literal here and are not doubled")
    for field in _FIELD.finditer(_LATEX_COMMAND.sub("", template.replace(MARKER, ""))):
        raise ValueError(f"{field.group()} in the template is not filled in by anything: only {MARKER} is")


def render_prompt(template: str, question: str) -> str:
    """The template with the question in place of every marker; braces in the question stay as they are."""
    return template.replace(MARKER, question)
