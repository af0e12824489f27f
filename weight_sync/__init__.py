"""Getting version v from the trainer's ranks into every engine while it writes completions."""
