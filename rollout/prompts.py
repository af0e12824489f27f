"""Problems as token ids, the way the model is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.records import Problem


class PromptTooLongError(ValueError):
    """A prompt has more tokens than are allowed."""


class PromptEncoder:
    """Tokenises a problem's prompt once; everything later works on these ids.

    Args:
        tokenizer: of the model, a transformers tokenizer.
        chat_template: send the prompt as a user message through the tokenizer's chat template.
        system_prompt: system message before it.
        max_prompt_tokens: longest prompt that is asked.

    Raises:
        ValueError: if a chat template is wanted and the tokenizer has none.
    """

    def __init__(
        self, tokenizer: Any, *, chat_template: bool, system_prompt: str | None, max_prompt_tokens: int
    ) -> None:
        if chat_template and not getattr(tokenizer, "chat_template", None):
            raise ValueError(
                "curriculum.chat_template is true, but the model's tokenizer has no chat template: "
                "set it to false or use an instruction-tuned model"
            )
        self._tokenizer = tokenizer
        self._chat_template = chat_template
        self._system_prompt = system_prompt
        self._max_prompt_tokens = max_prompt_tokens

    def encode(self, problem: Problem) -> NDArray[np.int32]:
        """int32 [P].

        Raises:
            PromptTooLongError: if P exceeds `max_prompt_tokens`.
        """
        if self._chat_template:
            messages = [{"role": "user", "content": problem.prompt}]
            if self._system_prompt is not None:
                messages.insert(0, {"role": "system", "content": self._system_prompt})
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            # The template's text already holds every special token.
            token_ids = self._tokenizer(text, add_special_tokens=False).input_ids
        else:
            token_ids = self._tokenizer(problem.prompt).input_ids
        if len(token_ids) > self._max_prompt_tokens:
            raise PromptTooLongError(
                f"the prompt of {problem.id} has {len(token_ids)} tokens, more than "
                f"curriculum.max_prompt_tokens: {self._max_prompt_tokens}"
            )
        return np.asarray(token_ids, dtype=np.int32)
