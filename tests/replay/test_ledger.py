from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import numpy as np
import pytest
from finished_groups import CORRECT, FAILED, completion, contents, finished, problems, spans_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from replay.group_state import GroupState, LeasedGroup
from replay.ledger import APPLICATION_ID, FILE_NAME, Ledger, LedgerError
from replay.records import Completion, FinishReason, Grade, Group, Outcome, Problem

REPOSITORY = Path(__file__).parents[2]

FullDisk = Callable[[Path], AbstractContextManager[None]]


def lease(number: int, problem: Problem | None = None) -> LeasedGroup:
    return LeasedGroup(number, problem or problems(number + 1)[number], "worker", lease_version=0, expires_at=1.0)


def add_leases(ledger: Ledger, *leases: LeasedGroup) -> None:
    """All of them in one transaction."""
    with ledger.transaction():
        for lease in leases:
            ledger.add_lease(lease, leased_at=0.0)


def record(ledger: Ledger, group: Group, step: int) -> None:
    """Lead one group through its whole life."""
    with ledger.transaction():
        ledger.add_lease(lease(group.id, group.problem), leased_at=0.0)
        ledger.add_completions(group, finished_at=1.0)
        ledger.add_batch(step, [group.id], selected_at=2.0)


# Files that are no ledger


@pytest.mark.parametrize("content", [b"no\n", b"not a database at all\n" * 100], ids=["short", "long"])
def test_a_text_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"notes\.txt cannot be read as a SQLite file: file is not a database"):
        Ledger(path)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"bookmarks\.sqlite is a SQLite file of another program"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_ledger_of_another_schema_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="has ledger schema 99, this version of inflight reads 1"):
        Ledger(path)


def test_a_file_that_was_refused_is_not_kept_open(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database")
    before = os.listdir("/dev/fd")
    for _ in range(5):
        with pytest.raises(LedgerError):
            Ledger(path)
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_ledger_can_be_told_apart_by_the_file_command(tmp_path: Path) -> None:
    Ledger(tmp_path / FILE_NAME).close()
    header = (tmp_path / FILE_NAME).read_bytes()[:100]
    assert header[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"INFL"


# What goes in comes out

# All that UTF-8 has; the other half of the question is the test of surrogates below.
texts = st.text(st.characters(codec="utf-8"), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
grades = st.one_of(
    st.builds(
        Grade,
        st.sampled_from([outcome for outcome in Outcome if not outcome.is_failure]),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
        st.none() | texts,
    ),
    st.builds(Grade, st.sampled_from([outcome for outcome in Outcome if outcome.is_failure]), st.none(), texts),
)


@st.composite
def completions(draw: st.DrawFn) -> Completion:
    versions = draw(st.lists(st.integers(0, 2**31 - 1), max_size=40))
    return Completion(
        token_ids=draw(npst.arrays(np.int32, len(versions))),
        logprobs=draw(npst.arrays(np.float32, len(versions), elements=st.floats(max_value=0, width=32))),
        version_spans=spans_of(versions),
        finish_reason=draw(st.sampled_from(FinishReason)),
        loss_mask=draw(npst.arrays(np.bool_, len(versions))),
        text=draw(texts),
    )


@st.composite
def groups(draw: st.DrawFn) -> Group:
    graded = draw(st.lists(st.tuples(completions(), grades), min_size=1, max_size=4))
    metadata = draw(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
    return Group(
        id=draw(st.integers(0, 2**62)),
        problem=Problem(draw(texts), draw(texts), draw(texts), draw(st.none() | texts), metadata),
        prompt_token_ids=draw(npst.arrays(np.int32, st.integers(0, 20))),
        completions=tuple(completion for completion, _ in graded),
        grades=tuple(grade for _, grade in graded),
        lease_version=0,
    )


@settings(deadline=None, max_examples=150)
@given(group=groups(), step=st.integers(0, 2**40))
def test_nothing_is_lost_or_rounded_between_delivery_and_training(group: Group, step: int) -> None:
    with Ledger(Path(":memory:")) as ledger:
        record(ledger, group, step)
        (read,) = ledger.batch(step).groups
    assert contents(read) == contents(group)


def test_text_that_is_no_unicode_does_not_end_the_run(ledger: Ledger) -> None:
    problem = Problem("test/0", "test", "\ud800?", "\udfff", {"question": "\ud800?"})
    odd = completion([0, 0], text="caf\udce9 \x00 \U0001f600 end")
    grade = Grade(Outcome.WRONG, 0.0, "no such file: caf\udce9", "\udce9")
    group = Group(0, problem, np.zeros(1, dtype=np.int32), (odd,), (grade,), 0)
    record(ledger, group, 0)
    (read,) = ledger.batch(0).groups
    assert read.completions[0].text == "caf\\udce9 \x00 \U0001f600 end"
    assert read.grades[0] == Grade(Outcome.WRONG, 0.0, "no such file: caf\\udce9", "\\udce9")
    assert read.problem == Problem("test/0", "test", "\\ud800?", "\\udfff", {"question": "\ud800?"})


def test_a_score_of_numpy_is_a_number_in_the_ledger(ledger: Ledger) -> None:
    group = finished(lease(0), grades=(Grade(Outcome.PARTIAL, np.float32(0.25)), CORRECT, FAILED))
    record(ledger, group, 0)
    assert [grade.score for grade in ledger.batch(0).groups[0].grades] == [0.25, 1.0, None]
    with closing(sqlite3.connect(ledger.path)) as reader:
        assert reader.execute("SELECT sum(score), count(score) FROM completions").fetchone() == (1.25, 2)


def test_metadata_that_is_no_json_is_an_error_and_leaves_no_lease_behind(ledger: Ledger) -> None:
    problem = Problem("test/0", "test", "?", metadata={"answer": {1, 2}})
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        add_leases(ledger, lease(0), lease(1, problem))
    assert ledger.count_by_state() == {}


def test_a_problem_that_is_asked_again_is_stored_once(ledger: Ledger) -> None:
    add_leases(ledger, *(lease(number, problems(1)[0]) for number in range(3)))
    with closing(sqlite3.connect(ledger.path)) as reader:
        assert reader.execute("SELECT count(*) FROM problems").fetchone() == (1,)
    assert ledger.count_by_state() == {GroupState.LEASED: 3}


def test_a_batch_that_was_never_settled_is_an_error_and_not_an_empty_one(ledger: Ledger) -> None:
    assert not ledger.batch_exists(0)
    with pytest.raises(KeyError, match="no batch is recorded for step 0"):
        ledger.batch(0)


# What survives


def test_a_transaction_that_raises_leaves_nothing_behind_and_the_next_one_works(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        add_leases(ledger, lease(0), lease(1), lease(0))
    assert ledger.count_by_state() == {}
    record(ledger, finished(lease(0)), 0)
    assert ledger.count_by_state() == {GroupState.BATCHED: 1}


# A small transaction is written at its end; a large one does not fit into SQLite's cache and is written before.
@pytest.mark.parametrize("size", [100_000, 10_000_000], ids=["at the end", "in the middle"])
def test_a_full_disk_is_named_and_the_ledger_goes_on_when_there_is_room(
    ledger: Ledger, full_disk: FullDisk, size: int
) -> None:
    record(ledger, finished(lease(0)), 0)
    large = Problem("test/large", "test", "x" * size)
    with full_disk(ledger.path), pytest.raises(sqlite3.OperationalError, match="disk"):
        add_leases(ledger, lease(1), lease(2, large), lease(3))
    assert ledger.count_by_state() == {GroupState.BATCHED: 1}
    add_leases(ledger, lease(1, large))
    assert ledger.count_by_state() == {GroupState.BATCHED: 1, GroupState.LEASED: 1}


KILLED = """
import sys
from pathlib import Path

from finished_groups import finished, problems

from curriculum.sampler import ShuffledSampler
from replay.buffer import ReplayBuffer
from replay.config import ReplayConfig
from replay.ledger import Ledger

buffer = ReplayBuffer(
    Ledger(Path(sys.argv[1])),
    ShuffledSampler(problems(5), seed=0),
    ReplayConfig(max_staleness=1, groups_per_batch=2),
    clock=lambda: 0.0,
)
buffer.publish(0)
leases = buffer.lease("worker", 0, 3)
for lease in leases[:2]:
    assert buffer.deliver("worker", finished(lease))
buffer.select_batch(0)
print("delivered", flush=True)
input()
"""


def test_a_group_that_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "delivered\n"
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    with Ledger(path) as ledger:
        assert ledger.newest_version() == 0
        assert ledger.count_by_state() == {GroupState.BATCHED: 2, GroupState.LEASED: 1}
        first, second = ledger.batch(0).groups
    expected = [finished(LeasedGroup(group.id, group.problem, "worker", 0, 0.0)) for group in (first, second)]
    assert contents(first) == contents(expected[0])
    assert contents(second) == contents(expected[1])


@pytest.mark.parametrize("address", ["{}", "file:{}?mode=ro"], ids=["plain", "read-only"])
def test_the_ledger_can_be_read_with_plain_sqlite_while_the_run_writes(ledger: Ledger, address: str) -> None:
    record(ledger, finished(lease(0)), 0)
    count = "SELECT count(*) FROM groups"
    with closing(sqlite3.connect(address.format(ledger.path), uri=address != "{}", timeout=0)) as reader:
        reader.execute("BEGIN")
        assert reader.execute(count).fetchone() == (1,)
        with ledger.transaction():
            ledger.add_lease(lease(1), 0.0)
            assert reader.execute(count).fetchone() == (1,)
        # A reader in the middle of a transaction keeps what it saw first, and does not hold up the run.
        assert reader.execute(count).fetchone() == (1,)
        reader.execute("COMMIT")
        assert reader.execute(count).fetchone() == (2,)


def test_the_history_of_a_run_can_be_read_from_its_versions(ledger: Ledger) -> None:
    assert ledger.newest_version() == -1
    record(ledger, finished(lease(0)), 0)
    with ledger.transaction():
        ledger.add_version(0, json.dumps({"position": 3}), 1.0)
    assert ledger.newest_version() == 0
    assert ledger.count_by_outcome() == {"correct": 1, "wrong": 1}
    with ledger.transaction():
        ledger.mark_trained(0, 5.0)
        ledger.add_version(1, json.dumps({"position": 4}), 6.0)
    assert ledger.newest_version() == 1
    assert ledger.count_by_state() == {GroupState.TRAINED: 1}
    with closing(sqlite3.connect(ledger.path)) as reader:
        assert reader.execute("SELECT trained_at FROM batches").fetchall() == [(5.0,)]
        positions = reader.execute("SELECT json_extract(sampler, '$.position') FROM versions ORDER BY version")
        assert positions.fetchall() == [(3,), (4,)]
