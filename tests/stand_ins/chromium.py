"""A headless Chromium, driven by Selenium."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import throwaway

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

# It is to talk to our servers only, whatever this machine's proxy, and to leave the user's own alone.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
)


@contextlib.contextmanager
def chromium() -> Iterator[Chrome]:
    """Start a browser; skips where there is none, see :func:`throwaway.unavailable`."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        throwaway.unavailable("chromium", "chromium and chromedriver are not installed")
    from selenium import webdriver

    profile = Path(tempfile.mkdtemp(prefix="closers-chromium-"))
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()
        shutil.rmtree(profile, ignore_errors=True)
