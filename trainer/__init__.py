"""DeepSpeed workers as Ray actors: advantages, losses, optimizer steps, checkpoints."""
