"""What every site is tested for in a browser: it asks for nothing outside of itself, and its console stays empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from leaderboard.browser import missing_browser, start_browser


def browser_or_skip(profile: Path) -> Any:
    """Starts a browser, or skips the test and says what is missing."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    if missing_browser():
        pytest.skip(missing_browser())
    return start_browser(profile)


@contextmanager
def quiet(browser: Any, site: Path) -> Iterator[None]:
    """Looks, at the end, at what was asked for meanwhile and at what the console says."""
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get_log("browser")
    yield
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert any(url.startswith(site.as_uri()) for url in asked)
    assert [url for url in asked if not url.startswith((site.as_uri(), "data:", "about:blank"))] == []
    assert browser.get_log("browser") == []
