"""Face fusion: the networks, pictures with their faces fused, and pasting."""
