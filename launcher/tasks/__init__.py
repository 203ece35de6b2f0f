"""Scripts that run with the environment's interpreter, where torch and the pack can be imported."""
