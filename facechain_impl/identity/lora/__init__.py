"""LoRA files: formats, merging, and where they are kept."""
