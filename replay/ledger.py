"""The ledger: one SQLite file in the run's folder that knows every group, completion, batch and version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from replay.group_state import GroupState, LeasedGroup
from replay.records import Batch, Group
from replay.serialization import (
    completion_from_row,
    completion_to_row,
    problem_from_row,
    problem_to_row,
    tokens_from_bytes,
    tokens_to_bytes,
)

FILE_NAME = "ledger.sqlite"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x494E464C  # "INFL", so that a foreign SQLite file is told apart

_SCHEMA = """
CREATE TABLE problems (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, prompt TEXT NOT NULL, answer TEXT, metadata TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    problem_id TEXT NOT NULL REFERENCES problems(id),
    state TEXT NOT NULL,
    worker TEXT NOT NULL,
    lease_version INTEGER NOT NULL,
    leased_at REAL NOT NULL,
    finished_at REAL,
    step INTEGER REFERENCES batches(step),
    reason TEXT,
    prompt_token_ids BLOB
);
CREATE INDEX groups_by_step ON groups(step) WHERE step IS NOT NULL;
CREATE TABLE completions (
    group_id INTEGER NOT NULL REFERENCES groups(id),
    position INTEGER NOT NULL,
    token_ids BLOB NOT NULL,
    logprobs BLOB NOT NULL,
    loss_mask BLOB NOT NULL,
    version_spans TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    text TEXT NOT NULL,
    outcome TEXT NOT NULL,
    score REAL,
    grade_reason TEXT NOT NULL,
    extracted_answer TEXT,
    PRIMARY KEY (group_id, position)
) WITHOUT ROWID;
CREATE TABLE batches (step INTEGER PRIMARY KEY, selected_at REAL NOT NULL, trained_at REAL);
CREATE TABLE versions (version INTEGER PRIMARY KEY, published_at REAL NOT NULL, sampler TEXT NOT NULL);
"""

_COMPLETION_COLUMNS = (
    "token_ids, logprobs, loss_mask, version_spans, finish_reason, text, outcome, score, grade_reason, "
    "extracted_answer"
)


class LedgerError(RuntimeError):
    """The file is not a ledger of this version."""


class Ledger:
    """Rows in, records out. It knows no rules: the buffer decides what may be written when.

    Writes happen inside `transaction()`. The journal is synced before a transaction returns, so what a
    caller acknowledges afterwards survives `kill -9` and a loss of power.

    Raises:
        LedgerError: on opening a file that is no ledger or has another schema version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = sqlite3.connect(path, isolation_level=None, timeout=30.0)
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        execute = self._database.execute
        try:
            (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{self.path} cannot be read as a SQLite file: {error}") from error
        (application_id,) = execute("PRAGMA application_id").fetchone()
        (schema_version,) = execute("PRAGMA user_version").fetchone()
        if tables and application_id != APPLICATION_ID:
            raise LedgerError(f"{self.path} is a SQLite file of another program, not a ledger of inflight")
        if tables and schema_version != SCHEMA_VERSION:
            raise LedgerError(
                f"{self.path} has ledger schema {schema_version}, this version of inflight reads {SCHEMA_VERSION}"
            )
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA foreign_keys = ON")
        if not tables:
            with self.transaction():
                for statement in _SCHEMA.split(";\n"):
                    execute(statement)
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are kept together or not at all."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors of the disk.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def add_lease(self, group: LeasedGroup, leased_at: float) -> None:
        """A new group in state `leased`, with its problem."""
        self._database.execute("INSERT OR IGNORE INTO problems VALUES (?, ?, ?, ?, ?)", problem_to_row(group.problem))
        self._database.execute(
            "INSERT INTO groups (id, problem_id, state, worker, lease_version, leased_at) VALUES (?, ?, ?, ?, ?, ?)",
            (group.id, group.problem.id, GroupState.LEASED, group.worker, group.lease_version, leased_at),
        )

    def add_completions(self, group: Group, finished_at: float) -> None:
        """The completions and grades of a leased group, which becomes `ready`."""
        self._database.execute(
            "UPDATE groups SET state = ?, finished_at = ?, prompt_token_ids = ? WHERE id = ?",
            (GroupState.READY, finished_at, tokens_to_bytes(group.prompt_token_ids), group.id),
        )
        self._database.executemany(
            f"INSERT INTO completions (group_id, position, {_COMPLETION_COLUMNS}) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (group.id, position, *completion_to_row(completion, grade))
                for position, (completion, grade) in enumerate(zip(group.completions, group.grades, strict=True))
            ],
        )

    def was_delivered(self, group_id: int, worker: str) -> bool:
        """Whether this worker's completions of the group are kept."""
        found = self._database.execute(
            "SELECT 1 FROM groups WHERE id = ? AND worker = ? AND state IN (?, ?, ?)",
            (group_id, worker, GroupState.READY, GroupState.BATCHED, GroupState.TRAINED),
        ).fetchone()
        return found is not None

    def end_lease(self, group_id: int, state: GroupState, reason: str, at: float) -> None:
        """A leased group ends without completions: `returned` or `discarded`."""
        self._database.execute(
            "UPDATE groups SET state = ?, reason = ?, finished_at = ? WHERE id = ?", (state, reason, at, group_id)
        )

    def add_batch(self, step: int, group_ids: list[int], selected_at: float) -> None:
        """Record which groups step `step` trains on; they become `batched`."""
        self._database.execute("INSERT INTO batches (step, selected_at) VALUES (?, ?)", (step, selected_at))
        self._database.executemany(
            "UPDATE groups SET state = ?, step = ? WHERE id = ?",
            [(GroupState.BATCHED, step, group_id) for group_id in group_ids],
        )

    def mark_trained(self, step: int, trained_at: float) -> None:
        """The groups of step `step` become `trained`."""
        self._database.execute("UPDATE batches SET trained_at = ? WHERE step = ?", (trained_at, step))
        self._database.execute("UPDATE groups SET state = ? WHERE step = ?", (GroupState.TRAINED, step))

    def add_version(self, version: int, sampler_state: str, published_at: float) -> None:
        """Version `version` was published; `sampler_state` is the curriculum at that moment, as JSON."""
        self._database.execute("INSERT INTO versions VALUES (?, ?, ?)", (version, published_at, sampler_state))

    def newest_version(self) -> int:
        """The newest published version; -1 before the first."""
        (version,) = self._database.execute("SELECT max(version) FROM versions").fetchone()
        return -1 if version is None else int(version)

    def batch_exists(self, step: int) -> bool:
        return self._database.execute("SELECT 1 FROM batches WHERE step = ?", (step,)).fetchone() is not None

    def batch(self, step: int) -> Batch:
        """The recorded batch of a step, groups in order of admission.

        Raises:
            KeyError: if no batch was recorded for this step.
        """
        rows = self._database.execute(
            "SELECT g.id, g.lease_version, g.prompt_token_ids, p.id, p.source, p.prompt, p.answer, p.metadata "
            "FROM groups g JOIN problems p ON p.id = g.problem_id WHERE g.step = ? ORDER BY g.id",
            (step,),
        ).fetchall()
        if not rows:
            raise KeyError(f"no batch is recorded for step {step}")
        groups = []
        for group_id, lease_version, prompt_token_ids, *problem in rows:
            graded = [
                completion_from_row(row)
                for row in self._database.execute(
                    f"SELECT {_COMPLETION_COLUMNS} FROM completions WHERE group_id = ? ORDER BY position",
                    (group_id,),
                )
            ]
            completions, grades = zip(*graded, strict=True)
            groups.append(
                Group(
                    id=group_id,
                    problem=problem_from_row(tuple(problem)),
                    prompt_token_ids=tokens_from_bytes(prompt_token_ids),
                    completions=completions,
                    grades=grades,
                    lease_version=lease_version,
                )
            )
        return Batch(step, tuple(groups))

    def count_by_state(self) -> dict[str, int]:
        """Number of groups in each state."""
        return dict(self._database.execute("SELECT state, count(*) FROM groups GROUP BY state").fetchall())

    def count_by_outcome(self) -> dict[str, int]:
        """Number of completions of each grading outcome, trained or not."""
        return dict(self._database.execute("SELECT outcome, count(*) FROM completions GROUP BY outcome").fetchall())
