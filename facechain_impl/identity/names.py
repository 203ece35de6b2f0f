"""Names that people choose and that become names of folders and files."""

from __future__ import annotations

import re

from ..errors import BadInput

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
_LONGEST = 80


def check_name(name: str) -> str:
    """`name` if it can be the name of a folder on every system. Raises BadInput otherwise."""
    name = name.strip()
    problem = None
    if not name:
        problem = "it is empty"
    elif len(name) > _LONGEST:
        problem = f"it is longer than {_LONGEST} characters"
    elif _FORBIDDEN.search(name):
        problem = 'it contains one of < > : " / \\ | ? * or a control character'
    elif name.startswith(".") or name.endswith("."):
        problem = "it starts or ends with a dot"
    elif name.split(".")[0].strip().lower() in _RESERVED:
        problem = "Windows reserves it for a device"
    if problem:
        raise BadInput(f"{name!r} cannot be the name of a person: {problem}. Use letters, digits, spaces, - and _.")
    return name
