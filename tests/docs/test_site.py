"""The site: it builds without a warning, its links resolve, and a browser finds nothing to complain about."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs", reason="the documentation needs: pip install 'compress_gym[docs]'")

from docs.generator.environments import environment_ids
from tests.browsing import browser_or_skip, quiet
from tests.code_blocks import ROOT

OUTSIDE = ("http", "https", "mailto")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs") / "site"
    ran = subprocess.run(
        [sys.executable, "-m", "docs.generator", "--out", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return out


class Targets(HTMLParser):
    """Collects what a page links to, what it loads, and the anchors it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        given = {key: value or "" for key, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given:
            self.loaded.append(given["href"])
        elif "src" in given:
            self.loaded.append(given["src"])


@pytest.fixture(scope="module")
def pages(site):
    """All pages but the one for addresses that do not exist, which stands anywhere and has absolute links."""
    return {path.resolve(): Targets(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_link_resolves(site, pages):
    assert len(pages) > 50
    broken = []
    for path, page in pages.items():
        for target in (*page.links, *page.loaded):
            parts = urlsplit(target)
            if parts.scheme in (*OUTSIDE, "data"):
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not to.is_file() or (
                parts.fragment and to in pages and unquote(parts.fragment) not in pages[to].anchors
            ):
                broken.append(f"{path.relative_to(site)}: {target}")
    assert broken == []


def test_nothing_is_loaded_from_outside(site, pages):
    for path, page in pages.items():
        assert [t for t in page.loaded if urlsplit(t).scheme in OUTSIDE or t.startswith("//")] == [], path
    for path in site.rglob("*.css"):
        assert "url(http" not in path.read_text() and "@import" not in path.read_text(), path


def test_every_environment_has_a_page_with_a_moving_picture(site):
    from PIL import Image

    for env_id in environment_ids():
        name = env_id.rsplit("/", 1)[1]
        assert f'src="{name}.gif"' in (site / "environments" / f"{name}.html").read_text()
        with Image.open(site / "environments" / f"{name}.gif") as picture:
            assert picture.n_frames > 3
        assert (site / "environments" / f"{name}.gif").stat().st_size < 500_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = browser_or_skip(tmp_path_factory.mktemp("profile"))
    yield started
    started.quit()


def test_the_console_is_empty_and_nothing_outside_is_asked_for(browser, site):
    # Pages of the reference are made alike; the leaderboard's own pages have tests of their own.
    alike = [site / "reference", site / "results" / "leaderboard"]
    pages = [p for p in site.rglob("*.html") if not any(folder in p.parents for folder in alike)]
    pages.append(site / "reference" / "problem.html")
    for path in (path for path in pages if path.name != "404.html"):
        with quiet(browser, site):
            browser.get(path.as_uri())
            assert browser.title.endswith("compress_gym")
            unloaded = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
            assert browser.execute_script(unloaded) == []


def test_the_search_works_where_pages_are_opened_as_files(browser, site):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    with quiet(browser, site):
        browser.get((site / "index.html").as_uri())
        browser.find_element(By.CSS_SELECTOR, "label.md-search__icon[for=__search]")
        field = browser.find_element(By.CSS_SELECTOR, "input.md-search__input")
        browser.execute_script("arguments[0].focus()", field)
        field.send_keys("surrogate")
        found = WebDriverWait(browser, 30).until(
            lambda b: b.find_elements(By.CSS_SELECTOR, ".md-search-result__item a")
        )
        assert any("fidelity" in link.get_attribute("href") for link in found)


def test_a_missing_extra_is_told_in_words(tmp_path):
    hidden = "import sys; sys.modules['mkdocs'] = None; sys.argv = ['docs.generator', '--out', sys.argv[1]]"
    code = f"{hidden}; import runpy; runpy.run_module('docs.generator', run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2 and not (tmp_path / "site").exists()
    assert "needs mkdocs; install it with: pip install 'compress_gym[docs]'" in ran.stderr
