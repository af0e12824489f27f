"""Whether `model.path` can be what the trainer and the engines load, by its files alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inflight.refusal import Reason

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))


def check_checkpoint(path: str, *, longest: int, chat_template: bool) -> Iterator[Reason]:
    """What is missing in a local folder; a name on the hub is left to the download.

    Args:
        path: `model.path`.
        longest: tokens that prompt and completion may have together.
        chat_template: whether prompts go through the tokenizer's chat template.
    """
    folder = Path(path).expanduser()
    if not folder.exists():
        if not _may_be_on_the_hub(path):
            yield Reason(
                "model.path",
                f"there is no folder {folder.absolute()}. Write a folder with a Hugging Face checkpoint, or a name "
                "on the hub such as Qwen/Qwen2.5-1.5B-Instruct",
            )
        return
    if not folder.is_dir():
        yield Reason("model.path", f"{folder} is a file. Write the folder that it is in.")
        return
    missing = [f"{what} ({files})" for what, files in _missing(folder)]
    if missing:
        yield Reason(
            "model.path",
            f"{folder} is not a whole Hugging Face checkpoint; it lacks {'; '.join(missing)}. Write a folder that "
            "`save_pretrained` of both model and tokenizer wrote.",
        )
        return
    yield from _check_length(folder, longest)
    if chat_template and not _has_chat_template(folder):
        yield Reason(
            "curriculum.chat_template, model.path",
            f"the tokenizer in {folder} has no chat template. Write curriculum.chat_template=false, or take a model "
            "that was trained with one.",
        )


def weights_bytes(path: str) -> int:
    """Size of the weight files in a local folder; 0 where they are not known yet."""
    folder = Path(path).expanduser()
    return max(
        sum(file.stat().st_size for file in folder.glob(kind)) for kind in ("*.safetensors", "pytorch_model*.bin")
    )


def _may_be_on_the_hub(path: str) -> bool:
    # outputs/model, in a folder that has outputs/, is a misspelt path and no name on the hub.
    return bool(_HUB_NAME.fullmatch(path)) and not Path(path).parent.exists()


def _missing(folder: Path) -> Iterator[tuple[str, str]]:
    if not folder.joinpath("config.json").is_file():
        yield "the model's config", "config.json"
    if not any(all(folder.joinpath(name).is_file() for name in names) for names in _TOKENIZERS):
        yield "the tokenizer", "tokenizer.json, or tokenizer.model, or vocab.json with merges.txt"
    if not folder.joinpath("tokenizer_config.json").is_file():
        yield "the tokenizer's config", "tokenizer_config.json"
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        yield "the weights", "*.safetensors or *.bin"


def _check_length(folder: Path, longest: int) -> Iterator[Reason]:
    config = _read_json(folder / "config.json")
    limit = config.get("max_position_embeddings")
    # A rope that is scaled reaches further than the number says.
    if isinstance(limit, int) and not config.get("rope_scaling") and limit < longest:
        yield Reason(
            "rollout.engine.max_model_len, model.path",
            f"rollout.engine.max_model_len={longest} is more than the {limit} positions of {folder}. Write "
            f"rollout.engine.max_model_len={limit} and shorter prompts or completions.",
        )


def _has_chat_template(folder: Path) -> bool:
    if any(folder.joinpath(name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    return bool(_read_json(folder / "tokenizer_config.json").get("chat_template"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}  # who loads it says what is wrong with it
    return content if isinstance(content, dict) else {}
