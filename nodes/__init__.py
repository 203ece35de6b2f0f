"""What the user sees: thin nodes, one file per family."""
