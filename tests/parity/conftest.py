"""Fixtures of the parity tests; the rest is in counting.py."""

from __future__ import annotations

import pytest

from .counting import BOOK
from .harness import HERE, Case, declared


@pytest.fixture(scope="session")
def parity(request):
    """Opens a fixture file by name: parity("damofd"), parity("tables"), parity("sadtalker/fan")."""
    known = declared(HERE.glob("test_*.py"))

    def open_case(name: str) -> Case:
        assert name in known, f"no test module has {name!r} in its FIXTURES"
        return request.config.stash[BOOK].open(name)

    return open_case


@pytest.fixture(scope="module")
def case(request, parity) -> Case:
    """The only file in the module's FIXTURES."""
    (name,) = request.module.FIXTURES
    return parity(name)
