"""What `run.py` does, with the standard library only. `tasks` holds the scripts that run inside the environment it made."""
