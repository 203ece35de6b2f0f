"""The stored persons, for lists on the command line and in the editor."""

from __future__ import annotations

from . import persons


def summaries() -> list[dict]:
    """All stored persons, with what a list shows about them."""
    return [_summary(name) for name in persons.names()]


def _summary(name: str) -> dict:
    about = persons.card(name)
    report = about.get("report", {})
    size = sum(path.stat().st_size for path in persons.folder_of(name).iterdir())
    return {
        "name": name,
        "trigger": about.get("trigger", ""),
        "base_model": report.get("base_model", "unknown"),
        "steps": report.get("steps"),
        "lora": persons.lora_name(name),
        "bytes": size,
    }
