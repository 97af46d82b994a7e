"""The HTML report in a real browser, at the widths of a phone and of a desktop."""

import json
import os

import pytest

from algo.report.load import load_runs
from algo.report.page import page
from tests.report_runs import make_run
from tests.require import require_command

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
HEADINGS = [
    "What was found", "Learning curves", "The policy", "Accuracy, latency, energy", "The Q-table over time",
    "Outliers skipped, trainings saved", "Cost and break-even", "Provenance",
]  # fmt: skip
LEARNED = "What the unit learned"
WIDE = {"latency_th_ms": 20.0, "energy_th_uj": 300.0}  # thresholds that a plan's first policy keeps


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages about a finished run, about one with a long and odd name, and about both and an unfinished one; and about
    one by a planning unit."""
    folder = tmp_path_factory.mktemp("report")
    one = make_run(folder / "run")
    odd = make_run(folder / f"{'W' * 90}<b>&", schedule="quick", activations="searched")
    runs = [one, make_run(folder / "unfinished", stop=12), odd]
    (folder / "one.html").write_text(page(load_runs([one])))
    (folder / "three.html").write_text(page(load_runs(runs)))
    (folder / "odd.html").write_text(page(load_runs([odd])))
    planned = make_run(folder / "planned", method="planning", iterations=20, activations="searched", **WIDE)
    (folder / "planned.html").write_text(page(load_runs([planned])))
    return {name: folder / f"{name}.html" for name in ("one", "odd", "three", "planned")}


@pytest.fixture(scope="module")
def browser():
    chromium = require_command("chromium", "chromium")
    chromedriver = require_command("chromedriver", "chromium-driver")
    if not os.environ.get("CI"):
        pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # In a container there is neither a sandbox nor much shared memory.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver)) as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        yield driver


def show(browser, page, size, script=True):
    """Open a page at a size, with the logs emptied before."""
    width, height = SIZES[size]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"},
    )
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.as_uri())


def requested(browser):
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def boxes(browser, selector):
    """Width and height of what matches, in CSS pixels, with whether it can be seen."""
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => {"
        " const box = e.getBoundingClientRect();"
        " return [e.getAttribute('aria-label') || e.textContent, box.width, box.height, e.checkVisibility()]; })",
        selector,
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["one", "odd", "three", "planned"])
def test_the_page_fits_and_is_whole(browser, pages, name, size):
    show(browser, pages[name], size)
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "DEBUG"] == []
    assert {url for url in requested(browser) if not url.startswith("data:")} == {pages[name].as_uri()}
    assert browser.execute_script("return innerWidth") == SIZES[size][0]
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= SIZES[size][0]
    # Nothing may stick out and be cut off either, but what lies in a container that scrolls.
    outside = browser.execute_script(
        "return [...document.body.querySelectorAll('*')].filter(e => !e.closest('.scroll') && e.checkVisibility()"
        " && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    narrow = [
        box for box in boxes(browser, "p, figcaption, summary, li") if box[3] and box[1] < min(120, 5 * len(box[0]))
    ]
    assert narrow == []
    headings = {text: (width, height, seen) for text, width, height, seen in boxes(browser, "h1, h2")}
    assert list(headings)[1:] == [LEARNED if name == "planned" and "Q-table" in text else text for text in HEADINGS]
    assert all(width > 50 and height > 15 and seen for width, height, seen in headings.values())
    pictures = [box for box in boxes(browser, "svg[role=img]") if box[3]]
    assert len(pictures) >= 7
    assert all(width > 200 and height > 50 for _, width, height, _ in pictures), pictures


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["one", "planned"])
def test_letters_in_pictures_can_be_read(browser, pages, name, size):
    show(browser, pages[name], size)
    heights = browser.execute_script(
        "return [...document.querySelectorAll('svg.chart text')].filter(e => e.checkVisibility())"
        ".map(e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"
    )
    assert len(heights) > 40 and min(heights) >= 9.5 and max(heights) <= 20


@pytest.mark.parametrize("size", SIZES)
def test_the_slider_goes_through_the_q_tables(browser, pages, size):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, pages["one"], size)
    slider = browser.find_element(By.CSS_SELECTOR, ".stepper input")

    def shown():
        captions = browser.find_elements(By.CSS_SELECTOR, ".frames figcaption")
        return [caption.text for caption in captions if caption.is_displayed()]

    assert shown() == ["after iteration 329, ε = 0"]
    assert "0.00" not in browser.find_element(By.CSS_SELECTOR, ".frames figure:not([hidden]) .strong").text
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown() == ["after iteration 299, ε = 0.125"]
    assert slider.get_attribute("aria-valuetext") == shown()[0]
    slider.send_keys(Keys.HOME)
    assert shown() == ["after iteration 29, ε = 1"]
    browser.find_element(By.CSS_SELECTOR, ".stepper button").click()
    browser.implicitly_wait(0)
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 5, 0.1).until(lambda _: shown() != ["after iteration 29, ε = 1"])


@pytest.mark.parametrize("size", SIZES)
def test_the_slider_goes_through_the_effects_and_every_cell_has_room_for_its_words(browser, pages, size):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, pages["planned"], size)
    slider = browser.find_element(By.CSS_SELECTOR, ".stepper input")
    assert slider.get_attribute("aria-valuetext").startswith("after iteration 19; framed: the policy deployed, ")
    words = boxes(browser, ".frames figure:not([hidden]) .qv")
    cells = boxes(browser, ".frames figure:not([hidden]) rect")
    assert len(cells) == 8 * 9 < len(words) and all(seen for *_, seen in words)
    assert max(width for _, width, *_ in words) <= min(width for _, width, *_ in cells)
    slider.send_keys(Keys.HOME)
    assert slider.get_attribute("aria-valuetext") == "after iteration 1"


def test_without_scripts_all_q_tables_are_there(browser, pages):
    show(browser, pages["one"], "desktop", script=False)
    try:
        heat = browser.execute_cdp_cmd(
            "Runtime.evaluate",  # DevTools may look where the page's own scripts may not run
            {
                "expression": "JSON.stringify([...document.querySelectorAll('.frames figure')]"
                ".map(e => [e.checkVisibility(), e.getBoundingClientRect().height]))",
                "returnByValue": True,
            },
        )
        figures = json.loads(heat["result"]["value"])
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(figures) == 11 and all(seen and height > 100 for seen, height in figures)


def test_a_mark_lights_up_in_all_three_pictures_and_is_named(browser, pages):
    show(browser, pages["one"], "desktop")
    lit = browser.execute_script(
        "const mark = document.querySelector('.front[data-i]');"
        "mark.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));"
        "return [mark.dataset.i, [...document.querySelectorAll('.lit')].map(e => e.dataset.i),"
        " document.querySelector('[data-readout]').textContent]"
    )
    assert lit[1] == [lit[0]] * 3 and lit[2].startswith(f"iteration {lit[0]}: weight bits ")


def test_in_the_dark_and_on_paper_colours_and_frames_change(browser, pages):
    show(browser, pages["one"], "desktop")
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(background)
    try:
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        )
        assert browser.execute_script(background) != light
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert all(seen for _, _, _, seen in boxes(browser, ".frames figure"))
        assert not any(seen for _, _, _, seen in boxes(browser, ".stepper, nav"))
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
