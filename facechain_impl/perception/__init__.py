"""Around each network: pre-processing, batching and decoding into the types of the pack."""
