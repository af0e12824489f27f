"""Every file that can be chosen gives a whole configuration, and every key of it is read by something."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml

from inflight.compose import compose, to_yaml
from inflight.config import Config
from inflight.config_files import ConfigFiles
from inflight.help import key_list, train_epilog
from inflight.schema import schema

FILES = ConfigFiles()
ROOT = FILES.packaged.parent
CHECKPOINT = ["model=checkpoint", "model.path=org/model"]
# What some files need beside them, because a tiny model learns chain_sum only.
BESIDE = {
    ("model", "checkpoint"): ["model.path=org/model"],
    ("curriculum", "gsm8k"): [*CHECKPOINT, "rollout=gpu"],
    ("curriculum", "jsonl"): [*CHECKPOINT, "rollout=gpu", "curriculum.source.path=problems.jsonl"],
    ("rollout", "gpu"): CHECKPOINT,
}
OPTIONS = [(group, option) for group in FILES.groups() for option in FILES.options(group)]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_file_composes(group: str, option: str) -> None:
    compose([f"{group}={option}", *BESIDE.get((group, option), [])])


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_file_says_what_it_is(group: str, option: str) -> None:
    description = FILES.options(group)[option]
    assert description
    assert len(description) <= 110


@pytest.mark.parametrize("experiment", FILES.options("experiment"))
def test_yaml_of_a_configuration_reads_back(experiment: str) -> None:
    config = compose([f"experiment={experiment}"])
    assert Config.model_validate(yaml.safe_load(to_yaml(config))) == config


def test_braces_and_dollars_survive() -> None:
    template = r"{question} is $\frac{1}{2}$ and \\${x}: \boxed{}"
    config = compose()
    curriculum = config.curriculum.model_copy(update={"prompt_template": template})
    config = config.model_copy(update={"curriculum": curriculum})
    assert yaml.safe_load(to_yaml(config))["curriculum"]["prompt_template"] == template


def test_overrides_reach_the_configuration() -> None:
    config = compose(
        [
            "experiment=quickstart",
            "trainer.loss.clip_low=0.1",  # in no YAML file, so Hydra alone would refuse it
            "+trainer.loss.clip_high=0.3",
            "trainer.optimizer.betas=[0.8,0.9]",
            "rollout.engine.extra.swap_space=1",
            "rollout.sampling.stop=['\\n\\n']",
            "~trainer.threads",
        ]
    )
    assert (config.trainer.loss.clip_low, config.trainer.loss.clip_high) == (0.1, 0.3)
    assert config.trainer.optimizer.betas == (0.8, 0.9)
    assert config.rollout.engine.extra == {"swap_space": 1}
    assert len(config.rollout.sampling.stop) == 1
    assert config.trainer.threads is None


def test_a_group_on_the_command_line_wins_over_the_experiment() -> None:
    config = compose(["experiment=quickstart", *CHECKPOINT, "replay=synchronous", "replay.groups_per_batch=4"])
    assert (config.model.path, config.replay.groups_per_batch) == ("org/model", 4)


def test_every_run_gets_a_folder_of_its_own() -> None:
    assert compose().run.dir.startswith("outputs/")
    assert compose(['run.dir="~/runs/a"']).run.dir == str(Path.home() / "runs" / "a")


def test_every_key_is_listed_with_a_description() -> None:
    listed = key_list("")
    for key in schema().keys:
        assert key.description, key.path
        assert f"{key.path}: " in listed
    assert "curriculum.source.path: string, no default  (with curriculum.source.kind=jsonl)" in listed


def test_help_of_train_names_every_experiment_and_group() -> None:
    epilog = train_epilog()
    for group, option in OPTIONS:
        assert (f"{group}=" if group != "experiment" else f"experiment={option}") in epilog


def test_what_the_documentation_shows_composes(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n# my_configs/(\S+)\n(.*?)```", text, re.DOTALL)
    (tmp_path / example[0]).parent.mkdir()
    (tmp_path / example[0]).write_text(example[1])
    shown = re.findall(r"^inflight train (.*)$", text.replace("\\\n", " "), re.MULTILINE)
    assert len(shown) >= 6
    for line in shown:
        overrides = [word for word in shlex.split(line, comments=True) if "=" in word]
        compose(overrides, tmp_path)


def test_no_key_is_read_by_nothing() -> None:
    """A key whose name is an attribute nowhere but in the typed configs and their checks does nothing."""
    says_only_what_is_allowed = {
        "config.py",
        "model_config.py",
        "combinations.py",
        "preflight.py",
        "checkpoint_files.py",
    }
    read: set[str] = set()
    for folder in ("curriculum", "inflight", "replay", "rewards", "rollout", "trainer", "weight_sync"):
        for path in ROOT.joinpath(folder).rglob("*.py"):
            if path.name not in says_only_what_is_allowed:
                tree = ast.parse(path.read_text(encoding="utf-8"))
                read |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
                # match statements read attributes by keyword
                read |= {
                    name for node in ast.walk(tree) if isinstance(node, ast.MatchClass) for name in node.kwd_attrs
                }
    # What chooses between classes is read by pydantic.
    unread = [
        key.path for key in schema().keys if not key.path.endswith(".kind") and key.path.split(".")[-1] not in read
    ]
    assert not unread, f"these keys are read by nothing: {', '.join(unread)}"
