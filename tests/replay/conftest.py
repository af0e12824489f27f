from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from replay.ledger import FILE_NAME, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / FILE_NAME) as ledger:
        yield ledger


@pytest.fixture
def full_disk() -> Callable[[Path], AbstractContextManager[None]]:
    """A context in which the files beside a path cannot grow, as the kernel refuses it."""

    @contextmanager
    def full(path: Path) -> Iterator[None]:
        largest = max(file.stat().st_size for file in path.parent.iterdir())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return full
