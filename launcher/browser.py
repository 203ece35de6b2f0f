"""Chromium and playwright-core, with which the tests drive the editor."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from . import console, places
from .console import Failure, say
from .stamps import Stamps, Step, fingerprint, locked

PLAYWRIGHT = "playwright-core@1.65.1"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
USUAL_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
REMEDY = "Install Chromium and npm (Debian and Ubuntu: apt install chromium npm), then run this again."


def ready() -> dict[str, str]:
    """Environment variables that name the browser and the folder of its driver. Raises Failure when one cannot be had."""
    if not (chromium() and shutil.which("npm")):
        _install_from_debian()
    folder = places.home() / "browser"
    step = Step("playwright", f"The browser driver ({PLAYWRIGHT})", fingerprint(PLAYWRIGHT), lambda: _install_driver(folder))
    with locked(places.home()):
        Stamps(folder / "facechain-steps").run([step])
    return {"FACECHAIN_CHROMIUM": chromium(), "FACECHAIN_NODE_MODULES": str(folder / "node_modules")}


def chromium() -> str | None:
    """The path of a Chromium: FACECHAIN_CHROMIUM, one on the PATH, or one in the usual places."""
    if named := os.environ.get("FACECHAIN_CHROMIUM"):
        return named
    found = (shutil.which(name) for name in CHROMIUMS)
    return next(filter(None, found), None) or next((place for place in USUAL_PLACES if Path(place).is_file()), None)


def _install_from_debian() -> None:
    step = "installing Chromium and npm"
    if not shutil.which("apt-get"):
        raise Failure(step, "they are not here, and there is no apt-get to install them with", REMEDY)
    if os.geteuid() != 0:
        remedy = REMEDY.replace("apt install", "sudo apt install")
        raise Failure(step, "they are not here, and only the administrator can install them", remedy)
    say("Installing Chromium and npm from Debian")
    log, env = places.home() / "logs" / "apt.log", {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    console.call(["apt-get", "update"], step, REMEDY, log, env)
    console.call(["apt-get", "install", "-y", "--no-install-recommends", "chromium", "npm"], step, REMEDY, log, env)
    if not (chromium() and shutil.which("npm")):
        raise Failure(step, "apt-get installed them, but they are not on the PATH", REMEDY)


def _install_driver(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--no-save", "--prefix", folder, PLAYWRIGHT]
    # npm is a script on Windows, which only its shell can start.
    words = ["cmd", "/c", *command] if sys.platform == "win32" else command
    console.call(words, "installing the browser driver", "Check the connection to the npm registry.", places.home() / "logs" / "npm.log")
