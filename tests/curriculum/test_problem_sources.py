from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from curriculum.config import CurriculumConfig
from curriculum.json_values import to_json_value
from curriculum.sources import SourceError, check_source, load_problems
from replay.records import Problem

REPOSITORY = Path(__file__).parents[2]


def config(source: dict[str, Any], **keys: Any) -> CurriculumConfig:
    return CurriculumConfig.model_validate({"source": source, "held_out": 0, **keys})


def chain_sum(**keys: Any) -> dict[str, Any]:
    return {"kind": "reasoning_gym", "dataset": "chain_sum", "size": 8, **keys}


def jsonl(path: Path, *lines: str | dict[str, Any], **keys: Any) -> dict[str, Any]:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return {"kind": "jsonl", "path": str(path), **keys}


def hugging_face(path: str, **keys: Any) -> dict[str, Any]:
    return {
        "kind": "hugging_face",
        "path": path,
        "prompt_field": "question",
        "answer_field": "answer",
        **keys,
    }


def load(source: dict[str, Any], **keys: Any) -> list[Problem]:
    return load_problems(config(source, **keys))


@pytest.fixture(autouse=True)
def _datasets_cache_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


# --- the template and the other keys


@pytest.mark.parametrize(
    "template",
    [
        r"{question} Put the answer in \boxed{}.",
        r"{question} Put the answer in \boxed{answer}.",
        r"Fractions look like \frac{a}{b}, roots like \sqrt[n]{x}. {question}",
        'Reply with {"answer": ...}. {question}',
        r"\boxed{} first. {question} Then again: {question}",
    ],
)
def test_braces_other_than_the_marker_are_literal(template: str) -> None:
    problem = load(chain_sum(size=1), prompt_template=template)[0]
    assert problem.prompt == problem.metadata["question"].join(template.split("{question}"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Solve it.", "must contain {question}"),
        ("{question} {answer}", "{answer} in the template is not filled in"),
        ("{question} { context }", "{ context } in the template"),
        ("{{question}}", "single braces"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(template: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(chain_sum(), prompt_template=template)


def test_a_question_with_braces_is_copied_as_it_is(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "p.jsonl", {"prompt": "Is {question} in {x}?", "answer": "no"})
    assert load(source, prompt_template="Q: {question}")[0].prompt == "Q: Is {question} in {x}?"


@pytest.mark.parametrize(
    ("source", "keys", "message"),
    [
        (chain_sum(sise=3), {}, "sise"),
        (chain_sum(options={"seed": 3}), {}, "curriculum.source.seed: 3"),
        (chain_sum(kind="reasoning_gim"), {}, "reasoning_gym"),
        (chain_sum(), {"system_prompt": "Be brief."}, "chat_template: true"),
        (hugging_face("json"), {}, "data_files"),
        (hugging_face("json", data_files=[]), {}, "at least 1 item"),
        (hugging_face("x", answer_pattern="#### .+"), {}, "no group"),
        (hugging_face("x", answer_pattern="("), {}, "not a regular expression"),
        (hugging_face("x", answer_pattern="(.)", answer_field=None), {}, "set answer_field"),
    ],
)
def test_keys_that_cannot_work_are_refused(source: dict[str, Any], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(source, **keys)


def test_importing_the_config_imports_none_of_the_packages_that_read() -> None:
    script = (
        "import sys, curriculum.config, curriculum.sources, curriculum.sampler, curriculum.split\n"
        "heavy = {'torch', 'ray', 'vllm', 'datasets', 'reasoning_gym'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# --- reasoning-gym


def test_reasoning_gym_problems_are_the_packages_entries() -> None:
    import reasoning_gym

    entries = reasoning_gym.create_dataset("chain_sum", size=8, seed=3, min_terms=2, max_terms=4)
    problems = load(chain_sum(seed=3, options={"min_terms": 2, "max_terms": 4}))
    for problem, entry in zip(problems, entries, strict=True):
        assert problem.prompt == problem.metadata["question"] == entry["question"]
        assert problem.answer == entry["answer"]
        assert problem.source == "reasoning_gym/chain_sum"
        assert problem.id.startswith("reasoning_gym/chain_sum/")
        assert problem.metadata["expression"] == entry["metadata"]["expression"]
        assert json.loads(json.dumps(problem.metadata, allow_nan=False)) == problem.metadata


def test_reasoning_gym_ids_depend_on_the_question_alone() -> None:
    # Entry i of seed 1 is entry i+1 of seed 0.
    first, second = load(chain_sum(seed=0)), load(chain_sum(seed=1), prompt_template="{question} Answer:")
    assert [problem.id for problem in first[1:]] == [problem.id for problem in second[:-1]]
    assert len({problem.id for problem in first}) == len(first)


@pytest.mark.parametrize("dataset", ["countdown", "leg_counting", "knights_knaves", "graph_color"])
def test_reasoning_gym_scorers_accept_the_problem_as_json(dataset: str) -> None:
    import reasoning_gym

    original = reasoning_gym.create_dataset(dataset, size=2, seed=0)
    for entry, problem in zip(original, load(chain_sum(dataset=dataset, size=2)), strict=True):
        metadata = json.loads(json.dumps(problem.metadata, allow_nan=False))
        rebuilt = {"question": metadata["question"], "answer": problem.answer, "metadata": metadata}
        answer = entry["answer"] or str(entry["metadata"].get("possible_answer"))
        assert original.score_answer(answer, rebuilt) == original.score_answer(answer, entry)


def test_a_mixture_names_every_problem_after_its_own_dataset() -> None:
    names = ("chain_sum", "leg_counting")
    datasets: list[dict[str, Any]] = [{"name": name, "weight": 1.0, "config": {}} for name in names]
    problems = load(chain_sum(dataset="composite", size=30, options={"datasets": datasets}))
    assert {problem.source for problem in problems} == {
        "reasoning_gym/chain_sum",
        "reasoning_gym/leg_counting",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (chain_sum(dataset="chainsum"), r"no dataset 'chainsum'\. Did you mean chain_sum"),
        (chain_sum(options={"min_term": 2}), r"curriculum\.source\.options: .*Did you mean min_terms"),
        (chain_sum(options={"min_terms": 0}), r"curriculum\.source\.options .*min_terms must be positive"),
        (chain_sum(options={"min_terms": "two"}), r"curriculum\.source\.options .*'two'"),
        (chain_sum(dataset="composite", options={"datasets": [{"nam": "x"}]}), "nam"),
        (chain_sum(dataset="composite"), "at least one dataset"),
    ],
)
def test_bad_reasoning_gym_keys_are_named(source: dict[str, Any], message: str) -> None:
    for read in (load_problems, check_source):
        with pytest.raises(SourceError, match=message):
            read(config(source))


def test_a_dataset_that_differs_between_processes_needs_a_fixed_string_hash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixture = {"datasets": [{"name": "ransom_note", "weight": 1.0, "config": {}}]}
    sources = [chain_sum(dataset="ransom_note"), chain_sum(dataset="composite", options=mixture)]
    for source in sources:
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)
        with pytest.raises(SourceError, match="PYTHONHASHSEED=0"):
            check_source(config(source))
        monkeypatch.setenv("PYTHONHASHSEED", "0")
        check_source(config(source))


# --- JSONL


def test_jsonl_rows_become_problems(tmp_path: Path) -> None:
    source = jsonl(
        tmp_path / "sums.jsonl",
        "\ufeff" + json.dumps({"prompt": "1+1", "answer": 2, "level": [1, {"a": None}]}),
        "",
        {"prompt": "½+½", "answer": "1"},
        {"prompt": "1/4", "answer": 0.25, "question": "another field of this name"},
    )
    problems = load(source, prompt_template="{question}=")
    assert [problem.prompt for problem in problems] == ["1+1=", "½+½=", "1/4="]
    assert [problem.answer for problem in problems] == ["2", "1", "0.25"]
    assert problems[0].metadata == {"level": [1, {"a": None}], "question": "1+1"}
    assert problems[2].metadata == {"question": "1/4"}
    assert {problem.source for problem in problems} == {"jsonl/sums"}
    assert len({problem.id for problem in problems}) == 3


def test_jsonl_ids_and_missing_answers_are_taken_as_configured(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "a", "key": 7}, {"prompt": "b", "key": "x/y"}]
    problems = load(jsonl(tmp_path / "p.jsonl", *rows, id_field="key", answer_field=None))
    assert [(problem.id, problem.answer) for problem in problems] == [
        ("jsonl/p/7", None),
        ("jsonl/p/x/y", None),
    ]


GOOD = {"prompt": "1+1", "answer": "2"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "x", ', "line 2: not JSON"),
        ('{"prompt": "x", "answer": NaN}', "line 2: not JSON.*NaN is not a JSON value"),
        ('["x", "y"]', "line 2: expected an object.*got a list"),
        (
            {"promt": "x", "answer": "y"},
            r"line 2: there is no field 'prompt'.*prompt_field.*Did you mean promt",
        ),
        ({"prompt": "x"}, "line 2: there is no field 'answer'.*answer_field"),
        ({"prompt": 3, "answer": "y"}, "line 2: field 'prompt' must be a string.*got 3"),
        ({"prompt": "  ", "answer": "y"}, "line 2: field 'prompt' must be a string with text"),
        ({"prompt": "x", "answer": True}, "line 2: field 'answer' must be a string or a number, got True"),
        ({"prompt": "x", "answer": None}, "line 2: field 'answer'.*answer_field: null"),
    ],
)
def test_a_bad_jsonl_row_is_named(tmp_path: Path, row: str | dict[str, Any], message: str) -> None:
    source = jsonl(tmp_path / "p.jsonl", GOOD, row)
    for read in (load_problems, check_source):
        with pytest.raises(SourceError, match=message):
            read(config(source))


def test_bad_jsonl_files_and_ids_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"curriculum\.source\.path: there is no file .*nope\.jsonl"):
        check_source(config({"kind": "jsonl", "path": str(tmp_path / "nope.jsonl")}))
    with pytest.raises(SourceError, match=r"empty\.jsonl has no rows"):
        check_source(config(jsonl(tmp_path / "empty.jsonl", "", "  ")))
    with pytest.raises(SourceError, match="line 3: field 'id' must be unique, but it is as in line 1"):
        load(jsonl(tmp_path / "p.jsonl", *({**GOOD, "id": key} for key in "aba"), id_field="id"))
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é", "answer": "1"}'.encode("latin-1"))
    with pytest.raises(SourceError, match="line 1: not JSON in UTF-8"):
        check_source(config({"kind": "jsonl", "path": str(tmp_path / "latin.jsonl")}))


def test_the_check_reads_only_the_first_rows_of_a_long_file(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "p.jsonl", *[GOOD] * 500, "not JSON")
    check_source(config(source))
    with pytest.raises(SourceError, match="line 501"):
        load(source)


# --- Hugging Face

ROWS = [
    {"question": "1+1", "answer": "One and one.\n#### 2", "level": 1},
    {"question": "20*60", "answer": "Twenty hours.\n#### 1,200", "level": 2},
]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    import datasets

    rows = datasets.Dataset.from_list(ROWS, split="train")
    rows.to_parquet(tmp_path / "sums.parquet")
    rows.to_csv(tmp_path / "sums.csv")
    rows.to_json(tmp_path / "sums.json")
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "saved_splits")
    (tmp_path / "folder").mkdir()
    rows.to_parquet(tmp_path / "folder" / "train.parquet")
    return tmp_path


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "saved", "saved_splits", "folder"])
def test_local_datasets_of_every_form_give_the_same_problems(stored: Path, kind: str) -> None:
    pattern = {"answer_pattern": "#### (.+)"}
    if kind in ("parquet", "csv", "json"):
        source = hugging_face(kind, data_files=str(stored / f"sums.{kind}"), **pattern)
    else:
        source = hugging_face(str(stored / kind), **pattern)
    check_source(config(source))
    problems = load(source)
    assert [(problem.prompt, problem.answer) for problem in problems] == [("1+1", "2"), ("20*60", "1,200")]
    assert [problem.metadata for problem in problems] == [
        {"question": "1+1", "level": 1},
        {"question": "20*60", "level": 2},
    ]
    name = kind if kind in ("saved", "saved_splits", "folder") else "sums"
    assert {problem.source for problem in problems} == {f"hugging_face/{name}"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"prompt_field": "questoin"}, "row 0: there is no field 'questoin'.*Did you mean question"),
        ({"split": "test"}, "split: test.*cannot be read"),
        ({"answer_pattern": r"=> (\d+)"}, "row 0: curriculum.source.answer_pattern.*finds no answer"),
        ({"prompt_field": "level"}, "row 0: field 'level' must be a string"),
    ],
)
@pytest.mark.parametrize("folder", ["saved", "saved_splits", "folder"])
def test_a_dataset_that_does_not_fit_the_keys_is_named(
    stored: Path, folder: str, keys: dict[str, Any], message: str
) -> None:
    source = hugging_face(str(stored / folder), **keys)
    for read in (load_problems, check_source):
        with pytest.raises(SourceError, match=message):
            read(config(source))


def test_missing_data_files_are_named(tmp_path: Path) -> None:
    source = hugging_face("json", data_files=[str(tmp_path / "nope.json")])
    for read in (load_problems, check_source):
        with pytest.raises(SourceError, match=r"nope\.json"):
            read(config(source))


def test_a_hub_name_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    # A process of its own, since huggingface_hub reads the variable when it is imported.
    script = (
        "import sys\n"
        "from curriculum.config import CurriculumConfig\n"
        "from curriculum.sources import SourceError, check_source, load_problems\n"
        "config = CurriculumConfig.model_validate_json(sys.argv[1])\n"
        "for read in (check_source, load_problems):\n"
        "    try:\n"
        "        read(config)\n"
        "    except SourceError as error:\n"
        "        sys.stdout.write(f'{error}\\n')\n"
    )
    written = config(hugging_face("openai/gsm8k", name="main")).model_dump_json()
    done = subprocess.run(
        [sys.executable, "-c", script, written],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert "path: openai/gsm8k, name: main, split: train" in line
        assert "Download it once while online" in line


# --- JSON values


def test_values_without_a_json_form_are_named() -> None:
    with pytest.raises(TypeError, match=r"row\.a\[1\] is a builtins\.complex"):
        to_json_value({"a": (1, 2j)}, "row")


def test_values_are_converted_to_plain_json() -> None:
    import datetime
    import decimal

    import numpy as np

    values = {
        1: (np.int64(2), np.float32(0.5), np.str_("s"), np.bool_(True)),
        "array": np.arange(4).reshape(2, 2),
        "set": {3, 1},
        "nan": float("nan"),
        "date": datetime.date(2024, 2, 29),
        "decimal": decimal.Decimal("1.50"),
    }
    plain = to_json_value(values)
    assert plain == {
        "1": [2, 0.5, "s", True],
        "array": [[0, 1], [2, 3]],
        "set": [1, 3],
        "nan": None,
        "date": "2024-02-29",
        "decimal": "1.50",
    }
    assert [type(value) for value in plain["1"]] == [int, float, str, bool]
