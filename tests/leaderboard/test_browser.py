"""The site in a real browser: it sorts, filters, leads to an entry, sends no request and logs nothing."""

from __future__ import annotations

import pytest

from leaderboard.__main__ import RECORDS, SUBMISSIONS
from leaderboard.site import build_site
from leaderboard.tracks import load_tracks
from tests.browsing import browser_or_skip, quiet

TRACK = "enumerated-digits"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    build_site(SUBMISSIONS, RECORDS, load_tracks(), out)
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = browser_or_skip(tmp_path_factory.mktemp("profile"))
    yield started
    started.quit()


@pytest.fixture
def page(browser, site):
    """The index, freshly loaded; after the test, what was asked for and what the console says are looked at."""
    with quiet(browser, site):
        browser.get((site / "index.html").as_uri())
        yield browser


def column(page, number, track=TRACK):
    script = f"return [...document.querySelectorAll('#table-{track} tbody tr')].filter(r => !r.hidden)"
    return page.execute_script(f"{script}.map(r => r.cells[{number}].textContent)")


def heading(page, number, track=TRACK):
    from selenium.webdriver.common.by import By

    return page.find_elements(By.CSS_SELECTOR, f"#table-{track} thead th")[number]


def test_headings_sort_by_numbers_and_by_names(page):
    from selenium.webdriver.common.by import By

    for number in (1, 2):
        before = column(page, number)
        heading(page, number).find_element(By.TAG_NAME, "button").click()
        assert heading(page, number).get_attribute("aria-sort") == "ascending"
        ascending = column(page, number)
        heading(page, number).find_element(By.TAG_NAME, "button").click()
        assert heading(page, number).get_attribute("aria-sort") == "descending"
        key = (lambda text: text) if number == 1 else (lambda text: float(text))
        known = [text for text in before if text != "–"]
        assert [text for text in ascending if text != "–"] == sorted(known, key=key)
        descending = column(page, number)
        assert [text for text in descending if text != "–"] == sorted(known, key=key, reverse=True)
        assert all(text == "–" for text in (*ascending[len(known) :], *descending[len(known) :]))


def test_sorting_by_keyboard(page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    button = heading(page, 1).find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    assert heading(page, 1).get_attribute("aria-sort") == "ascending"
    assert column(page, 1) == sorted(column(page, 1))


def test_the_filter_hides_what_does_not_match(page):
    from selenium.webdriver.common.by import By

    every = column(page, 1)
    field = page.find_element(By.ID, f"filter-{TRACK}")
    field.send_keys("Evolution")
    wanted = [name for name in every if "evolution" in name]
    assert column(page, 1) == wanted and 0 < len(wanted) < len(every)
    status = page.find_element(By.ID, f"status-{TRACK}")
    assert status.text == f"{len(wanted)} of {len(every)} entries shown"
    field.send_keys("no such entry")
    assert column(page, 1) == []
    field.clear()
    field.send_keys(" ")
    assert column(page, 1) == every


def test_an_entry_is_followed_and_leads_back(page):
    from selenium.webdriver.common.by import By

    name = column(page, 1)[0]
    page.find_element(By.CSS_SELECTOR, f"#table-{TRACK} tbody a").click()
    assert page.find_element(By.TAG_NAME, "h1").text == name
    assert f"leaderboard/submissions/{TRACK}/{name}.json" in page.find_element(By.TAG_NAME, "pre").text
    assert page.find_elements(By.CSS_SELECTOR, "svg rect.kept")
    page.find_element(By.CSS_SELECTOR, "main a").click()
    assert page.current_url.endswith(f"index.html#{TRACK}")


def test_every_plot_shows_the_entries(page):
    from selenium.webdriver.common.by import By

    section = page.find_element(By.CSS_SELECTOR, f"section[aria-labelledby={TRACK}]")
    assert len(section.find_elements(By.CSS_SELECTOR, "svg a.point")) == len(column(page, 1))
    assert section.find_elements(By.CSS_SELECTOR, "svg polyline.front")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(page, scheme):
    """A contrast of 4.5 to 1, as WCAG's level AA asks."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    ink, paper = page.execute_script(colours)
    assert (luminance(paper) > 0.5) is (scheme == "light")
    for selector in ("a[href^='#']:not(.skip)", ".note", "tbody td"):
        ink = page.execute_script(f"return getComputedStyle(document.querySelector({selector!r})).color")
        light, dark = sorted([luminance(ink), luminance(paper)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def luminance(colour: str) -> float:
    values = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_phone_scrolls_tables_not_the_page(page):
    screen = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert page.execute_script("return document.querySelector('.scroll').scrollWidth > window.innerWidth")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_everything_has_a_name_for_screen_readers(page):
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('svg, .scroll, input, section')].filter("
        "e => !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby') && !e.closest('label')).length"
    )
    assert unnamed == 0
