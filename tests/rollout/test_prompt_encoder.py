"""What the model is asked is what the tokenizer means, once, and never longer than allowed."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from replay.records import Problem
from rollout.prompts import PromptEncoder, PromptTooLongError

BEGIN, END, USER, SYSTEM, ASSISTANT = SPECIAL = ["<begin>", "<end>", "<user>", "<system>", "<assistant>"]
# Writes the begin token itself, as Llama's and Mistral's templates do.
TEMPLATE = (
    f"{BEGIN}{{% for message in messages %}}<{{{{ message.role }}}}>{{{{ message.content }}}}{END}{{% endfor %}}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)


def tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    """One token per byte, and a begin token before every text, as many checkpoints have it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.add_special_tokens(SPECIAL)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, vocabulary[BEGIN])]
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=BEGIN, eos_token=END)
    wrapped.chat_template = template
    return wrapped


def problem(prompt: str) -> Problem:
    return Problem("test/7", "test", prompt)


def asked(prompt: str, template: str | None = None, system_prompt: str | None = None) -> str:
    """The text that the model reads."""
    made = tokenizer(template)
    encoder = PromptEncoder(
        made, chat_template=template is not None, system_prompt=system_prompt, max_prompt_tokens=1000
    )
    token_ids = encoder.encode(problem(prompt))
    assert token_ids.dtype == np.int32
    return str(made.decode(token_ids.tolist()))


def test_a_plain_prompt_gets_the_special_tokens_of_the_tokenizer_once() -> None:
    assert asked("1 + 2 = ü {x}\n") == f"{BEGIN}1 + 2 = ü {{x}}\n"


def test_a_template_that_writes_the_begin_token_does_not_get_a_second_one() -> None:
    assert asked("1+2?", TEMPLATE) == f"{BEGIN}{USER}1+2?{END}{ASSISTANT}"


def test_the_system_prompt_comes_before_the_question() -> None:
    assert asked("1+2?", TEMPLATE, "Be brief.") == f"{BEGIN}{SYSTEM}Be brief.{END}{USER}1+2?{END}{ASSISTANT}"


def test_jinja_in_a_question_is_text() -> None:
    assert asked("{{ messages }} {% if %}", TEMPLATE) == f"{BEGIN}{USER}{{{{ messages }}}} {{% if %}}{END}{ASSISTANT}"


@pytest.mark.parametrize(("template", "around"), [(None, 1), (TEMPLATE, 4)], ids=["plain", "chat"])
def test_the_bound_counts_every_token_and_a_longer_prompt_is_refused(template: str | None, around: int) -> None:
    encoder = PromptEncoder(
        tokenizer(template), chat_template=template is not None, system_prompt=None, max_prompt_tokens=20
    )
    assert len(encoder.encode(problem("x" * (20 - around)))) == 20
    with pytest.raises(
        PromptTooLongError, match=r"test/7 has 21 tokens, more than curriculum\.max_prompt_tokens: 20"
    ):
        encoder.encode(problem("x" * (21 - around)))


def test_a_tokenizer_without_a_template_is_refused_before_the_first_prompt() -> None:
    with pytest.raises(ValueError, match=r"curriculum\.chat_template is true, but .* has no chat template"):
        PromptEncoder(tokenizer(), chat_template=True, system_prompt=None, max_prompt_tokens=20)


def test_a_template_that_is_not_wanted_is_not_used() -> None:
    encoder = PromptEncoder(tokenizer(TEMPLATE), chat_template=False, system_prompt=None, max_prompt_tokens=20)
    assert len(encoder.encode(problem("12"))) == 3
