"""Published files: source, integrity, and loading."""
