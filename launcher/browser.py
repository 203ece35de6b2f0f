"""Chromium for the tests that drive the editor."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import console, places
from .console import Failure, say

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
USUAL_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
STEP = "installing Chromium"
REMEDY = "Install Chromium or Chrome (Debian: apt install chromium) or name one in FACECHAIN_CHROMIUM, then run this again."


def ready() -> dict[str, str]:
    """The environment variable that names the browser. Raises Failure when none is found or can be installed."""
    return {"FACECHAIN_CHROMIUM": chromium() or _install_from_debian()}


def chromium() -> str | None:
    """The path of a Chromium: FACECHAIN_CHROMIUM, one on the PATH, or one in the usual places."""
    if named := os.environ.get("FACECHAIN_CHROMIUM"):
        return named
    found = (shutil.which(name) for name in NAMES)
    return next(filter(None, found), None) or next((place for place in USUAL_PLACES if Path(place).is_file()), None)


def _install_from_debian() -> str:
    if not shutil.which("apt-get"):
        raise Failure(STEP, "there is no Chromium here, and no apt-get to install it with", REMEDY)
    if os.geteuid() != 0:
        raise Failure(STEP, "there is no Chromium here, and only the administrator can install it", REMEDY)
    say("Installing Chromium from Debian")
    log, env = places.home() / "logs" / "apt.log", {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    console.call(["apt-get", "update"], STEP, REMEDY, log, env)
    console.call(["apt-get", "install", "-y", "--no-install-recommends", "chromium"], STEP, REMEDY, log, env)
    found = chromium()
    if not found:
        raise Failure(STEP, "apt-get installed it, but it is not on the PATH", REMEDY)
    return found
