"""From one row of a table of problems to a `Problem`, with errors that name the row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curriculum.content import content_id
from curriculum.json_values import to_json_value
from curriculum.prompt import render_prompt
from curriculum.sources.errors import SourceError, did_you_mean
from replay.records import Problem


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows of one source.

    The fields that are neither prompt, answer nor id become the problem's metadata, where a grader
    finds its test cases and the like. `metadata["question"]` is always the text of the prompt field.
    """

    source: str
    template: str
    prompt_field: str
    answer_field: str | None
    id_field: str | None = None
    answer_pattern: str | None = None

    def problem(self, row: Mapping[str, Any], where: str) -> Problem:
        """The problem in `row`.

        Args:
            row: field names and values.
            where: file and line, or dataset and row, for errors.

        Raises:
            SourceError: if a field is missing or has a value that cannot be used.
        """
        question = self._required(row, self.prompt_field, "prompt_field", where)
        if not isinstance(question, str) or not question.strip():
            raise SourceError(
                f"{where}: field {self.prompt_field!r} must be a string with text in it, got {question!r}"
            )
        used = {self.prompt_field, self.answer_field, self.id_field}
        try:
            metadata = to_json_value({name: row[name] for name in row if name not in used}, "row")
        except TypeError as error:
            raise SourceError(f"{where}: {error}; remove the field or store it as text") from error
        return Problem(
            id=f"{self.source}/{self._id(row, question, where)}",
            source=self.source,
            prompt=render_prompt(self.template, question),
            answer=self._answer(row, where),
            metadata={**metadata, "question": question},
        )

    def _answer(self, row: Mapping[str, Any], where: str) -> str | None:
        if self.answer_field is None:
            return None
        answer = self._required(row, self.answer_field, "answer_field", where)
        if isinstance(answer, bool) or not isinstance(answer, str | int | float):
            raise SourceError(
                f"{where}: field {self.answer_field!r} must be a string or a number, got {answer!r}; "
                "set curriculum.source.answer_field: null if the grader needs no answer"
            )
        if self.answer_pattern is None:
            return str(answer)
        found = re.search(self.answer_pattern, str(answer))
        if found is None or found.group(1) is None:
            raise SourceError(
                f"{where}: curriculum.source.answer_pattern {self.answer_pattern!r} finds no answer in {answer!r}"
            )
        return found.group(1).strip()

    def _id(self, row: Mapping[str, Any], question: str, where: str) -> str:
        if self.id_field is None:
            return content_id(question)
        given = self._required(row, self.id_field, "id_field", where)
        if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
            raise SourceError(f"{where}: field {self.id_field!r} must be a string or integer, got {given!r}")
        return str(given)

    def _required(self, row: Mapping[str, Any], name: str, key: str, where: str) -> Any:
        if name not in row:
            raise SourceError(
                f"{where}: there is no field {name!r}, which curriculum.source.{key} names. "
                f"{did_you_mean(name, map(str, row))}"
            )
        return row[name]
