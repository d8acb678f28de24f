"""A headless Chromium for tests and for README's picture: `python -m leaderboard.browser` renews the picture."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from compress_gym.support.commands import run_command
from leaderboard.__main__ import RECORDS, SUBMISSIONS
from leaderboard.site import build_site
from leaderboard.tracks import FOLDER, load_tracks

PICTURE = FOLDER / "screenshot.png"
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
).split()


def missing_browser() -> str:
    """Says what is missing to start one, or returns ""."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and '.join(missing)} here; on Debian: apt-get install chromium chromium-driver" if missing else ""


def start_browser(profile: Path) -> Any:
    """Starts Chromium by Selenium, with the logs of its console and of its requests.

    Args:
        profile: An empty folder for what the browser keeps.

    Raises:
        ValueError: Chromium or its driver is not installed.
    """
    if missing_browser():
        raise ValueError(missing_browser())
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A driver that is named is not looked for, so nothing is downloaded.
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_window_size(1280, 1000)
    return browser


@click.command()
@click.option("--track", default="enumerated-digits", show_default=True, help="Which table is shown.")
def main(track: str) -> None:
    """Builds the site and renews leaderboard/screenshot.png."""
    if track not in load_tracks():
        raise ValueError(f"--track {track!r} is not known; known: {', '.join(load_tracks())}")
    with tempfile.TemporaryDirectory() as folder:
        site, profile = Path(folder) / "site", Path(folder) / "profile"
        build_site(SUBMISSIONS, RECORDS, load_tracks(), site)
        browser = start_browser(profile)
        try:
            browser.set_window_size(1400, 1500)
            browser.get((site / "index.html").as_uri())
            section = browser.find_element("css selector", f"section[aria-labelledby='{track}']")
            section.screenshot(str(PICTURE))
        finally:
            browser.quit()
    click.echo(f"written to {PICTURE}")


if __name__ == "__main__":
    run_command(main, "leaderboard.browser")
