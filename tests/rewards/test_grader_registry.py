import importlib.metadata
import re
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from replay.records import Problem
from rewards import registry
from rewards.construction import check_grader, construct_grader

PLUG_IN = """
from dataclasses import dataclass

@dataclass
class Within:
    tolerance: float
    unit: str = "m"

    def __call__(self, problem, completion):
        return abs(float(completion.text) - float(problem.answer)) <= self.tolerance

def same(problem, completion, *, case: bool = True):
    return completion.text == problem.answer

async def judge(problem, completion):
    return True

def forgetful(completion):
    return True

class Silent:
    pass

LIMIT = 3
"""


@pytest.fixture
def plug_in(tmp_path: Path) -> str:
    path = tmp_path / "plug_in.py"
    path.write_text(PLUG_IN)
    return str(path)


@pytest.mark.parametrize("name", ["math_verify", "reasoning_gym"])
def test_checking_a_built_in_grader_does_not_load_its_library(name: str) -> None:
    code = (
        f"import sys; from rewards.construction import check_grader; check_grader({name!r}, {{}}); "
        "assert not {'sympy', 'math_verify', 'reasoning_gym', 'torch', 'pebble'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_class_gets_its_options_and_a_function_gets_them_at_every_call(plug_in: str, completion) -> None:
    problem = Problem("1", "test", "?", "5")
    within = construct_grader(f"{plug_in}:Within", {"tolerance": 0.5})
    assert within(problem, completion("5.4")) is True
    same = construct_grader(f"{plug_in}:same", {"case": False})
    assert same(problem, completion("5.4")) is False


def test_a_grader_in_a_package_is_found() -> None:
    name = "rewards.math_verify_grader:MathVerifyGrader"
    assert registry.load_target(name) is registry.load_target("math_verify")


def test_an_installed_entry_point_is_found(plug_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("house", "rewards.math_verify_grader:MathVerifyGrader", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([point]).select(group=group))
    check_grader("house", {"answer_format": "tag"})
    with pytest.raises(ValueError, match="Did you mean 'house'"):
        check_grader("hose", {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("math_verfy", {}, r"rewards\.grader='math_verfy'.*Did you mean 'math_verify'.*reasoning_gym"),
        ("", {}, r"rewards\.grader=''.*There are: math_verify, reasoning_gym"),
        ("nowhere.py:judge", {}, r"rewards\.grader='nowhere\.py:judge'.*there is no file .*nowhere\.py"),
        ("no.such.module:judge", {}, r"rewards\.grader=.*'no\.such\.module'.*write path/to/file\.py:name"),
        ("{file}:sane", {}, r"rewards\.grader=.* has no 'sane'. Did you mean 'same'"),
        ("{file}:LIMIT", {}, r"rewards\.grader=.* is a int: .* function or a class"),
        ("{file}:Silent", {}, r"rewards\.grader=.* no __call__"),
        ("{file}:judge", {}, r"rewards\.grader=.* asynchronous"),
        ("{file}:forgetful", {}, r"rewards\.grader=.* too many positional arguments.*\(completion\)"),
        ("{file}:Within", {}, r"rewards\.options.*missing a required argument: 'tolerance'"),
        ("{file}:Within", {"tolerance": 1, "units": "m"}, r"rewards\.options.*unexpected keyword.*'units'"),
        ("{file}:Within", {"tolerance": "wide"}, r"rewards\.options\.tolerance.*'wide'.*valid number"),
        ("{file}:same", {"fold": True}, r"rewards\.options.*unexpected keyword argument 'fold'"),
        (
            "math_verify",
            {"answer_format": "box"},
            r"\.answer_format.*'box'.*'boxed' or 'tag'",
        ),
        ("math_verify", {"format": "tag"}, r"rewards\.options of grader 'math_verify'.*'format'"),
    ],
)
def test_a_mistake_in_the_config_names_its_key(
    name: str, options: dict[str, Any], message: str, plug_in: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_grader(name.format(file=plug_in), options)


def test_a_plug_in_that_fails_to_import_shows_its_own_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_library\n")
    for _ in range(2):  # a failed import leaves nothing behind that the next one would find
        with pytest.raises(ValueError, match="No module named 'no_such_library'") as raised:
            check_grader(f"{path}:judge", {})
        assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_two_plug_ins_in_files_of_the_same_name_are_two(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "grader.py").write_text(f"def judge(problem, completion):\n    return {folder!r}\n")
    targets = [registry.load_target(f"{tmp_path}/{folder}/grader.py:judge") for folder in ("a", "b")]
    assert [target(None, None) for target in targets] == ["a", "b"]


def test_the_entry_point_group_is_the_documented_one() -> None:
    assert registry.ENTRY_POINT_GROUP == "inflight.graders"
    assert importlib.metadata.entry_points(group=registry.ENTRY_POINT_GROUP) is not None


def test_the_examples_in_the_docs_work(tmp_path: Path, completion) -> None:
    docs = Path(__file__).parents[2] / "docs" / "rewards.md"
    examples = re.findall(r"```python\n(.*?)```", docs.read_text(), re.DOTALL)
    for index, example in enumerate(examples):
        (tmp_path / f"example_{index}.py").write_text(example)
    (tmp_path / "words.txt").write_text("the cat sat")
    problem = Problem("1", "test", "?")
    concise = construct_grader(f"{tmp_path}/example_0.py:concise", {"limit": 1})
    assert concise(problem, completion("three tokens long")) == pytest.approx(1 / 3)
    known = construct_grader(f"{tmp_path}/example_1.py:KnownWords", {"words": f"{tmp_path}/words.txt"})
    assert known(problem, completion("the cat sat")).is_correct
    assert known(problem, completion("the dog sat")).reason == "unknown: dog"
