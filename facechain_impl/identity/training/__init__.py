"""The training of a face LoRA on the host's own model objects."""
