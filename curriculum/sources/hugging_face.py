"""Problems in a dataset that the `datasets` package reads: a hub name, a local folder or files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from curriculum.config import HuggingFaceSourceConfig
from curriculum.sources.errors import SourceError, did_you_mean
from curriculum.sources.rows import RowReader
from replay.records import Problem

_ROWS_CHECKED = 20
T = TypeVar("T")


def load(source: HuggingFaceSourceConfig, template: str) -> list[Problem]:
    """All problems of the split, in its order. A hub name is downloaded unless it is cached.

    Raises:
        SourceError: if the dataset cannot be read or has no rows, or a row is bad, naming its number.
    """
    rows = _reading(source, lambda: _open(source, streaming=False))
    problems = _problems(source, template, rows)
    if not problems:
        raise SourceError(f"{_description(source)} has no rows")
    return problems


def check(source: HuggingFaceSourceConfig, template: str) -> None:
    """Read the first rows of local data; of a hub name only its splits and columns, without its rows.

    Raises:
        SourceError: as `load`, for what was looked at.
    """
    if source.data_files is not None or Path(source.path).expanduser().exists():
        rows = _reading(source, lambda: list(islice(_open(source, streaming=True), _ROWS_CHECKED)))
        if not _problems(source, template, rows):
            raise SourceError(f"{_description(source)} has no rows")
        return

    import datasets

    info = _reading(source, lambda: datasets.load_dataset_builder(source.path, source.name).info)
    # A dataset without a card declares neither; then only reading it can tell.
    split = source.split.partition("[")[0]
    if info.splits and "+" not in split and split != "all" and split not in info.splits:
        hint = did_you_mean(split, info.splits)
        raise SourceError(f"curriculum.source.split: {source.path} has no split {split!r}. {hint}")
    if info.features:
        for key, column in (("prompt_field", source.prompt_field), ("answer_field", source.answer_field)):
            if column is not None and column not in info.features:
                raise SourceError(
                    f"curriculum.source.{key}: {source.path} has no column {column!r}. "
                    f"{did_you_mean(column, info.features)}"
                )


def _open(source: HuggingFaceSourceConfig, *, streaming: bool) -> Any:
    import datasets

    local = Path(source.path).expanduser()
    # Folders written by `save_to_disk`, which `load_dataset` refuses to read.
    if (local / "state.json").is_file():
        saved = datasets.load_from_disk(str(local))
        if saved.split is not None and str(saved.split) != source.split:
            raise ValueError(f"the folder holds only the split {str(saved.split)!r}")
        return saved
    if (local / "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(str(local))
        if source.split not in splits:
            raise ValueError(f"there is no split {source.split!r}. {did_you_mean(source.split, splits)}")
        return splits[source.split]
    path = str(local) if local.is_dir() else source.path
    return datasets.load_dataset(
        path, source.name, split=source.split, data_files=source.data_files, streaming=streaming
    )


def _problems(source: HuggingFaceSourceConfig, template: str, rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    reader = RowReader(
        source=f"hugging_face/{_short_name(source)}",
        template=template,
        prompt_field=source.prompt_field,
        answer_field=source.answer_field,
        answer_pattern=source.answer_pattern,
    )
    description = _description(source)
    return [reader.problem(row, f"{description}, row {number}") for number, row in enumerate(rows)]


def _reading(source: HuggingFaceSourceConfig, read: Callable[[], T]) -> T:
    """The result of `read`, whose many kinds of failure all become one error with the keys in it."""
    try:
        return read()
    except ConnectionError as error:
        raise SourceError(
            f"{_description(source)} is neither on this machine nor reachable: {error}. Download it once "
            "while online (it is then read from the cache), or set curriculum.source.path to local data"
        ) from error
    except Exception as error:
        raise SourceError(f"{_description(source)} cannot be read: {error}") from error


def _description(source: HuggingFaceSourceConfig) -> str:
    name = f", name: {source.name}" if source.name is not None else ""
    files = f", data_files: {source.data_files}" if source.data_files is not None else ""
    return f"curriculum.source (path: {source.path}{name}{files}, split: {source.split})"


def _short_name(source: HuggingFaceSourceConfig) -> str:
    """What tells this dataset from others in ids: never a folder of the machine it was read on."""
    if source.data_files is not None:
        files = source.data_files
        while not isinstance(files, str):
            files = next(iter(files.values())) if isinstance(files, dict) else files[0]
        return Path(files).stem
    local = Path(source.path).expanduser()
    path = local.resolve().name if local.exists() else source.path
    return f"{path}/{source.name}" if source.name is not None else path
