"""From overrides to a typed `Config`: Hydra composes the YAML files, pydantic validates the result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml  # type: ignore[import-untyped]
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from inflight.config import Config
from inflight.config_files import ConfigFiles
from inflight.overrides import read_overrides
from inflight.refusal import Reason, RunRefusedError
from inflight.validation import explain, required


class ConfigError(RunRefusedError):
    """The configuration cannot be used. Its reasons name every key at fault."""

    headline = "The configuration cannot be used"


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> Config:
    """The configuration that these overrides describe.

    Args:
        overrides: `key=value`, `group=file` or `experiment=file`, as on the command line.
        config_dir: a folder laid out like `configs/`, whose files can be chosen too.

    Raises:
        ConfigError: with everything that is wrong, as far as it can be told at once.
    """
    files = ConfigFiles(None if config_dir is None else config_dir.expanduser().absolute())
    unusable = files.check()
    if unusable:
        raise ConfigError(unusable)
    read = read_overrides(overrides, files)
    if read.unusable:
        raise ConfigError([*read.unusable, *read.unknown])
    data, unset = _compose(read.lines, files)
    try:
        # Strictly, so that 1.5 or "3" is no integer; from JSON, where a list may stand for a tuple.
        config = Config.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        # An unset key was reported already, not what its stand-in looks like.
        found = [reason for reason in explain(error, data) if reason.where not in unset]
    else:
        found = []
    reasons = [*read.unknown, *(Reason(path, required(path)) for path in unset), *found]
    if reasons:
        raise ConfigError(reasons)
    return config


def to_yaml(config: Config) -> str:
    """Every key with its value, in the order of the schema."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    return text


def _compose(lines: list[str], files: ConfigFiles) -> tuple[dict[str, Any], list[str]]:
    """The composed tree, and the keys whose value is still to be given (`???`)."""
    if files.own is not None:
        lines = [*lines, f"hydra.searchpath={json.dumps([f'file://{files.own}'])}"]
    try:
        with hydra.initialize_config_module("configs", version_base="1.3"):
            tree = hydra.compose("config", lines)
            unset = sorted(OmegaConf.missing_keys(tree))
            data = OmegaConf.to_container(tree, resolve=True)
    except MissingConfigException as error:
        raise ConfigError([_missing_file(error)]) from error
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        raise ConfigError([Reason(error.full_key or "configuration files", message)]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Reason("configuration files", f"one is not YAML: {error}")]) from error
    except (HydraException, ValueError) as error:
        raise ConfigError([Reason("configuration files", f"{error}".strip() or f"{error.__cause__}")]) from error
    assert isinstance(tree, DictConfig)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}, unset


def _missing_file(error: MissingConfigException) -> Reason:
    there_are = f"There are: {', '.join(error.options)}." if error.options else ""
    return Reason(
        f"{error.missing_cfg_file}", f"a defaults list asks for this file, which does not exist. {there_are}"
    )
