"""A person: captions, training, LoRA files, ranking, the store of persons."""
