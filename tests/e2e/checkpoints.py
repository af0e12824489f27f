"""Small real checkpoints for tests, made in a moment."""

from pathlib import Path

import torch

from trainer.model_config import TinyModelConfig
from trainer.tiny_model import make_model, train_tokenizer


def random_checkpoint(folder: Path, *, tied: bool, seed: int = 0) -> Path:
    """A tiny model with random weights, whose completions run to their limit."""
    question = "State the final answer to the following arithmetic problem:"
    texts = [f"{question} {a} + {b} =\n{a} + {b} = {a + b}\n\\boxed{{{a + b}}}" for a in range(30) for b in range(30)]
    tokenizer = train_tokenizer(texts, 420)
    torch.manual_seed(seed)
    model = make_model(TinyModelConfig(tie_word_embeddings=tied), tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
