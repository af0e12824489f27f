from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from finished_groups import CORRECT, FAILED, WRONG, finished, problems

from curriculum.sampler import ShuffledSampler
from replay.batch_summary import BatchSummary, summarise
from replay.buffer import ReplayBuffer
from replay.config import ReplayConfig
from replay.group_state import LeasedGroup
from replay.ledger import Ledger
from replay.records import Grade, Group, Outcome
from replay.selection import select_oldest_first
from replay.staleness import StalenessGate

PAGE = (Path(__file__).parents[2] / "docs" / "replay.md").read_text()
PASS_RATE, STALENESS, NEVER_SOLVED = re.findall(r"```sql\n(.*?)```", PAGE, flags=re.DOTALL)


class Run:
    """Three steps over four problems, two of them never solved, with a slow group written by two versions."""

    def __init__(self, ledger: Ledger) -> None:
        config = ReplayConfig(max_staleness=1, groups_per_batch=2)
        buffer = ReplayBuffer(ledger, ShuffledSampler(problems(4), seed=0), config, clock=lambda: 0.0)
        self.path = ledger.path
        self.delivered: list[Group] = []
        self.batches: list[BatchSummary] = []
        self.unsolved = {problems(4)[1].id, problems(4)[2].id}

        def deliver(lease: LeasedGroup, versions: list[int]) -> None:
            group = finished(lease, versions, self.grades_of(lease))
            assert buffer.deliver("w", group)
            self.delivered.append(group)

        buffer.publish(0)
        (slow,) = buffer.lease("w", 0, 1)
        for step in range(3):
            for lease in buffer.lease("w", step, 3 - step):
                deliver(lease, [step] * 3)
            if step == 1:
                deliver(slow, [0, 0, 0, 1])
            assert buffer.select_batch(step)
            self.batches.append(summarise(buffer.batch(step)))
            buffer.publish(step + 1)

    def grades_of(self, lease: LeasedGroup) -> list[Grade]:
        if lease.problem.id in self.unsolved:
            return [Grade(Outcome.WRONG, 0.0, extracted_answer=f"{lease.id}.0"), FAILED]
        return [CORRECT, WRONG, CORRECT]

    def ask(self, query: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as reader:
            reader.row_factory = sqlite3.Row
            return [dict(row) for row in reader.execute(query)]


@pytest.fixture
def run(ledger: Ledger) -> Run:
    run = Run(ledger)
    assert any(batch.completions_spanning_versions for batch in run.batches)
    assert len({batch.pass_rate for batch in run.batches}) > 1
    return run


def test_the_query_of_pass_rates_gives_what_the_run_reported(run: Run) -> None:
    assert run.ask(PASS_RATE) == [
        {
            "step": batch.step,
            "pass_rate": pytest.approx(batch.pass_rate),
            "graded": batch.completions - batch.outcomes.get("timeout", 0),
        }
        for batch in run.batches
    ]


def test_the_query_of_staleness_gives_what_the_run_reported(run: Run) -> None:
    assert run.ask(STALENESS) == [
        {
            "step": batch.step,
            "mean_staleness": pytest.approx(batch.staleness_sum / batch.tokens),
            "max_staleness": batch.staleness_max,
        }
        for batch in run.batches
    ]


def test_the_query_of_unsolved_problems_finds_them_with_the_last_answer(run: Run) -> None:
    expected = []
    for problem in problems(4):
        groups = [group for group in run.delivered if group.problem.id == problem.id]
        if groups and problem.id in run.unsolved:
            last = max(group.id for group in groups)
            expected.append((problem.prompt, problem.answer, len(groups), f"{last}.0", last))
    found = run.ask(NEVER_SOLVED)
    assert len(expected) == 2
    assert [tuple(row.values()) for row in found] == sorted(expected, key=lambda row: (-row[2], row[0]))


def test_the_tables_and_columns_of_the_page_are_those_of_the_ledger(run: Run) -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", PAGE, flags=re.MULTILINE)
    described = {table: re.findall(r"`(\w+)`", columns) for table, columns in rows}
    tables = [row["name"] for row in run.ask("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert described == {
        table: [row["name"] for row in run.ask(f"SELECT name FROM pragma_table_info('{table}') ORDER BY cid")]
        for table in tables
    }


def test_the_keys_of_the_page_are_those_of_the_config() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    keys = yaml.safe_load(block)["replay"]
    assert set(ReplayConfig(**keys).model_dump()) == set(keys)


def test_the_worked_examples_of_the_page_hold() -> None:
    gate = StalenessGate(groups_per_batch=2, max_staleness=1)
    table = re.findall(r"^\| version (\d) \| (\d) \|", PAGE, flags=re.MULTILINE)
    assert len(table) == 3
    for version, limit in table:
        assert gate.capacity(0, int(version)) == int(limit)
    wider = StalenessGate(groups_per_batch=2, max_staleness=2)
    waiting = dict.fromkeys(range(2, 6), 0)
    assert wider.capacity(admitted=0, engine_version=0) == 6
    assert select_oldest_first({0: 0, 1: 0}, waiting, 0, wider) == [0, 1]
    assert select_oldest_first({6: 1, 7: 1}, waiting, 1, wider) is None
    assert select_oldest_first({6: 1, 7: 1}, {}, 1, wider) == [6, 7]
