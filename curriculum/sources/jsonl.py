"""Problems in a local file with one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from curriculum.config import JsonlSourceConfig
from curriculum.sources.errors import SourceError
from curriculum.sources.rows import RowReader
from replay.records import Problem

_ROWS_CHECKED = 100


def load(source: JsonlSourceConfig, template: str) -> list[Problem]:
    """All problems of the file, in its order.

    Raises:
        SourceError: if the file is missing or empty, or a row is bad, naming its line.
    """
    return _not_empty(list(_problems(source, template)), source)


def check(source: JsonlSourceConfig, template: str) -> None:
    """Read the first rows only.

    Raises:
        SourceError: as `load`, for those rows.
    """
    _not_empty(list(islice(_problems(source, template), _ROWS_CHECKED)), source)


def _problems(source: JsonlSourceConfig, template: str) -> Iterator[Problem]:
    path = Path(source.path).expanduser()
    if not path.is_file():
        raise SourceError(f"curriculum.source.path: there is no file {path.absolute()}")
    reader = RowReader(
        source=f"jsonl/{path.stem}",
        template=template,
        prompt_field=source.prompt_field,
        answer_field=source.answer_field,
        id_field=source.id_field,
    )
    line_of_id: dict[str, int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{source.path}, line {number}"
            problem = reader.problem(_row(line, where), where)
            if source.id_field is not None:
                first = line_of_id.setdefault(problem.id, number)
                if first != number:
                    raise SourceError(
                        f"{where}: field {source.id_field!r} must be unique, but it is as in line {first}"
                    )
            yield problem


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        # Editors on Windows put a byte-order mark before the first line.
        row = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise SourceError(f"{where}: not JSON in UTF-8: {error}") from error
    if not isinstance(row, dict):
        got = type(row).__name__
        raise SourceError(f'{where}: expected an object such as {{"prompt": ...}}, got a {got}')
    return row


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value; write null or a string")


def _not_empty(problems: list[Problem], source: JsonlSourceConfig) -> list[Problem]:
    if not problems:
        raise SourceError(f"curriculum.source.path: the file {source.path} has no rows")
    return problems
