"""vLLM engines as Ray actors: groups of completions with token ids, logprobs and version spans."""
