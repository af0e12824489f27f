"""What is said of a configuration that cannot be used: the key, what was given, expected, and to be written."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from inflight.compose import ConfigError, compose
from inflight.config import Config, ContradictionError


def reasons(*overrides: str, config_dir: Path | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        compose(overrides, config_dir)
    found = {reason.where: reason.text for reason in caught.value.reasons}
    for where, text in found.items():
        assert where in str(caught.value)
        assert text.splitlines()[0] in str(caught.value)
    return found


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("trainer.stpes=3", "trainer.steps"),
        ("trainr.steps=3", "trainer.steps"),
        ("trainer.lr=1e-5", "trainer.optimizer.learning_rate"),
        ("rollout.max_tokens=64", "rollout.sampling.max_tokens"),
        ("+trainer.zero_stage=3", "trainer.deepspeed.zero_stage"),
        ("++replay.staleness=3", "replay.max_staleness"),
        ("~rollout.worker", "rollout.workers"),
        ("experment=quickstart", "experiment"),
        ("modle=tiny", "model"),
        ("hydra.run.dir=here", "run.dir"),
    ],
)
def test_misspelt_key_is_told_its_neighbour(override: str, meant: str) -> None:
    assert f"Did you mean {meant}" in reasons(override)[override]


def test_key_without_neighbours_points_to_the_list() -> None:
    assert reasons("trainer.xyzzy=3")["trainer.xyzzy=3"] == "there is no such key. See `inflight keys trainer`."


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("trainer.steps=abc", 'got "abc", expected integer > 0. Write for example trainer.steps=8'),
        ("trainer.steps=1.5", "got 1.5, expected integer > 0. Write for example trainer.steps=8"),
        ("trainer.steps=1e3", "got 1000.0, expected integer > 0. Write trainer.steps=1000"),
        ("trainer.steps=true", "got true, expected integer > 0. Write for example trainer.steps=8"),
        ("trainer.steps=null", "got null, expected integer > 0. Write for example trainer.steps=8"),
        ("trainer.ranks=0", "got 0, expected integer > 0. Write for example trainer.ranks=1"),
        ("trainer.dtype=bf16", 'got "bf16", expected float32 | bfloat16. Write trainer.dtype=bfloat16'),
        ("trainer.deepspeed.zero_stage=4", "got 4, expected 0 | 1 | 2 | 3."),
        ("trainer.optimizer.betas=[0.9]", "got [0.9], expected list of 2 numbers."),
        ("rollout.engine.gpu_memory_utilization=1.5", "got 1.5, expected number > 0 and <= 1."),
        ("rollout.sampling.stop=[1]", "got [1], expected list of strings."),
        ("run.tracking.tensorboard=yes", 'got "yes", expected true or false.'),
        ("run.tracking.wandb_project=7", "Put it in quotes: 'run.tracking.wandb_project=\"7\"'"),
        (
            "trainer.optimizer=adam",
            'got "adam", expected a mapping. `inflight keys trainer.optimizer` lists its keys.',
        ),
    ],
)
def test_wrong_type_says_what_was_given_and_expected(override: str, text: str) -> None:
    key = override.partition("=")[0]
    assert text in reasons(override)[key]


def test_every_problem_is_reported_at_once() -> None:
    found = reasons("trainer.stpes=3", "trainer.ranks=abc", "rollout.workers=0", "replay.max_staleness=-1")
    assert set(found) == {"trainer.stpes=3", "trainer.ranks", "rollout.workers", "replay.max_staleness"}


def test_unknown_experiment_lists_those_that_exist() -> None:
    text = reasons("experiment=quikstart", "trainer.stpes=3")["experiment=quikstart"]
    assert "Did you mean quickstart?" in text
    assert "qwen2_5_1_5b_gsm8k" in text
    assert "on two CPU cores" in text


def test_unknown_option_of_a_group_lists_those_that_exist() -> None:
    assert "There are:\n  cpu " in reasons("rollout=tpu")["rollout=tpu"]


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("quickstart", "Write experiment=quickstart"),
        ("trainer.steps", "expected KEY=VALUE"),
        ("trainer.steps=1,2", "gives several values to one run"),
        ("curriculum.prompt_template={question} is", "'curriculum.prompt_template=\"{question} is\"'"),
        ("run.dir=~/runs", "'run.dir=\"~/runs\"'"),
        ("model={path: here}", "model= takes the name of a file"),
        ("trainer=null", "trainer= takes the name of a file"),
        ("trainer/optimizer=adam", "there is no folder trainer/optimizer/"),
        ("=3", "there is no such key"),
    ],
)
def test_override_that_cannot_be_read(override: str, text: str) -> None:
    assert text in reasons(override)[override]


def test_value_that_is_still_to_be_given() -> None:
    text = reasons("model=checkpoint")["model.path"]
    assert text.startswith("has no value, and needs one: string or null.")
    assert text.endswith("Write model.path=...")
    assert "nothing is chosen. Write trainer=NAME" in reasons("~trainer")["trainer"]


def test_key_of_another_kind_of_source() -> None:
    found = reasons("curriculum.source.kind=jsonl")
    assert (
        "belongs to kind: reasoning_gym, and curriculum.source is of kind: jsonl" in found["curriculum.source.size"]
    )
    assert "has no value" in found["curriculum.source.path"]
    assert "expected reasoning_gym | jsonl" in reasons("curriculum.source.kind=json")["curriculum.source.kind"]


def test_one_error_for_a_union_of_types() -> None:
    chosen = ("curriculum=gsm8k", "model=checkpoint", "model.path=org/model", "rollout=gpu")
    found = reasons(*chosen, "curriculum.source.data_files=[3]")
    assert list(found) == ["curriculum.source.data_files"]


def test_interpolation_that_leads_nowhere() -> None:
    assert "foo.bar" in reasons("run.dir=${foo.bar}")["run.dir"]


@pytest.mark.parametrize(
    ("overrides", "keys", "correction"),
    [
        (
            ["rollout.sampling.max_tokens=65"],
            "rollout.engine.max_model_len, curriculum.max_prompt_tokens, rollout.sampling.max_tokens",
            "rollout.engine.max_model_len=97",
        ),
        (
            ["evaluation.max_tokens=100"],
            "rollout.engine.max_model_len, curriculum.max_prompt_tokens, evaluation.max_tokens",
            "rollout.engine.max_model_len=132",
        ),
        (["evaluation.problems=513"], "evaluation.problems, curriculum.held_out", "evaluation.problems=512"),
        (
            ["curriculum.source.size=512"],
            "curriculum.held_out, curriculum.source.size",
            "a larger curriculum.source.size",
        ),
        (["trainer.minibatches=17"], "trainer.minibatches, replay.groups_per_batch", "trainer.minibatches=16"),
        (
            ["trainer.ranks=129"],
            "trainer.ranks, replay.groups_per_batch, rollout.completions_per_group",
            "trainer.ranks=128",
        ),
        (["rollout.completions_per_group=1"], "rollout.completions_per_group", "rollout.completions_per_group=8"),
        (
            ["rollout.sampling.seed_requests=true"],
            "rollout.sampling.seed_requests, weight_sync.kv_cache, replay.max_staleness, rollout.num_gpus",
            "replay.max_staleness=0, or weight_sync.kv_cache=keep",
        ),
        (
            ["rollout.request_timeout_seconds=1200"],
            "replay.lease_seconds, rollout.request_timeout_seconds",
            "replay.lease_seconds=2400",
        ),
        (["trainer.save_every=201"], "trainer.save_every, trainer.steps", "trainer.save_every=null"),
        (
            [
                "rollout=gpu",
                "rollout.sampling.max_tokens=64",
                "rollout.engine.max_model_len=512",
                "rollout.engine.tensor_parallel_size=2",
            ],
            "rollout.engine.tensor_parallel_size, rollout.num_gpus",
            "rollout.num_gpus=2",
        ),
        (
            ["trainer.deepspeed.offload_optimizer=true"],
            "trainer.deepspeed.offload_optimizer, trainer.deepspeed.zero_stage",
            "trainer.deepspeed.zero_stage=1",
        ),
        (
            ["curriculum.source.dataset=leg_counting"],
            "model.tiny, curriculum.source",
            "curriculum=chain_sum",
        ),
        (
            ["model.tiny.max_position_embeddings=64"],
            "model.tiny.max_position_embeddings, rollout.engine.max_model_len",
            "model.tiny.max_position_embeddings=96",
        ),
    ],
)
def test_keys_that_cannot_work_together(overrides: list[str], keys: str, correction: str) -> None:
    found = reasons("experiment=quickstart", *overrides)
    assert list(found) == [keys]
    assert correction in found[keys]
    for key in keys.split(", "):
        assert key in found[keys]


@pytest.mark.parametrize(
    "overrides",
    [
        ["rollout.sampling.seed_requests=true", "replay.max_staleness=0"],
        ["rollout.sampling.seed_requests=true", "weight_sync.kv_cache=keep"],
        ["trainer.deepspeed.offload_optimizer=true", "trainer.deepspeed.zero_stage=1"],
        ["trainer.minibatches=16", "trainer.save_every=200", "evaluation.problems=512"],
        ["curriculum.held_out=600"],
        ["evaluation=none", "curriculum.held_out=0"],
    ],
)
def test_keys_that_work_together(overrides: list[str]) -> None:
    compose(["experiment=quickstart", *overrides])


def test_all_contradictions_at_once() -> None:
    found = reasons("trainer.minibatches=17", "trainer.save_every=201", "evaluation.problems=513")
    assert len(found) == 3


def test_a_config_made_in_code_is_checked_too() -> None:
    data = compose().model_dump()
    data["trainer"]["minibatches"] = 17
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(data)
    (detail,) = caught.value.errors()
    assert isinstance(detail["ctx"]["error"], ContradictionError)


class TestOwnFolder:
    def write(self, folder: Path, name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return folder

    def test_its_experiments_and_groups_can_be_chosen(self, tmp_path: Path) -> None:
        folder = tmp_path / "with space, and comma"
        self.write(folder, "trainer/brief.yaml", "defaults: [cpu]\nsteps: 3\n")
        text = "# @package _global_\n# Mine.\ndefaults: [override /trainer: brief]\nreplay: {groups_per_batch: 4}\n"
        self.write(folder, "experiment/mine.yaml", text)
        config = compose(["experiment=mine", "trainer.ranks=2"], folder)
        assert (config.trainer.steps, config.trainer.ranks, config.replay.groups_per_batch) == (3, 2, 4)
        assert "Mine." in reasons("experiment=mien", config_dir=folder)["experiment=mien"]

    def test_misspelt_key_in_a_file(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, "experiment/mine.yaml", "# @package _global_\ntrainer: {stpes: 3}\n")
        assert "Did you mean trainer.steps?" in reasons("experiment=mine", config_dir=folder)["trainer.stpes"]

    def test_experiment_without_the_package_line(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, "experiment/mine.yaml", "trainer: {steps: 3}\n")
        (text,) = reasons("experiment=mine", config_dir=folder).values()
        assert "must begin with the line `# @package _global_`" in text

    def test_file_that_would_be_shadowed(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, "trainer/cpu.yaml", "steps: 3\n")
        (text,) = reasons(config_dir=folder).values()
        assert "Give it another name" in text

    def test_defaults_list_that_asks_for_a_missing_file(self, tmp_path: Path) -> None:
        text = "# @package _global_\ndefaults: [override /trainer: tpu]\n"
        folder = self.write(tmp_path, "experiment/mine.yaml", text)
        assert "There are: cpu, gpu, zero3." in reasons("experiment=mine", config_dir=folder)["trainer/tpu"]

    def test_file_that_is_no_yaml(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, "experiment/mine.yaml", "# @package _global_\ntrainer: {steps: 3\n")
        (text,) = reasons("experiment=mine", config_dir=folder).values()
        assert "mine.yaml" in text

    def test_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        assert "there is no folder" in reasons(config_dir=tmp_path / "none")["--config-dir"]
