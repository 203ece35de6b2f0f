"""What a network means: pre-processing, batching and decoding into the types of the pack."""
