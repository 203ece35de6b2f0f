"""The graph editor in headless Chromium, as a user has it in front of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from launcher.tasks import convert_workflows
from launcher.testing import in_ci

from .hands import MODES, NODES_2, Hands

expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the whole session: while it lives its driver keeps an event loop running, which other tests do not expect."""
    chromium = os.environ.get("FACECHAIN_CHROMIUM")
    if not chromium:
        (pytest.fail if in_ci() else pytest.skip)("FACECHAIN_CHROMIUM names no browser; `python run.py test` finds one")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=convert_workflows.FLAGS)
        yield running
        running.close()


@contextmanager
def editor(browser: Browser, url: str, nodes_2: bool) -> Iterator[Page]:
    """The editor, loaded, with nothing lying over the canvas."""
    opened = browser.new_page(viewport=convert_workflows.VIEW)
    opened.set_default_timeout(180_000)
    convert_workflows.open_editor(opened, url, nodes_2)
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=MODES)
def hands(request, browser: Browser, server) -> Iterator[Hands]:
    """A person at the editor, in each way it shows nodes. One editor for a file's tests, which begin with a graph of their own: to start
    one takes longer than most tests."""
    with editor(browser, server.client.url, request.param == NODES_2) as opened:
        yield Hands(opened, request.param)


@pytest.fixture(scope="module")
def one_page(browser: Browser, server) -> Iterator[Page]:
    """The editor in the classic canvas, for tests that leave nothing in it that the next ones see."""
    with editor(browser, server.client.url, nodes_2=False) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, server) -> Iterator[Page]:
    """The editor in the classic canvas."""
    with editor(browser, server.client.url, nodes_2=False) as opened:
        yield opened
