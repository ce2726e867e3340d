"""The page in a real browser: Debian's Chromium, headless. Skipped where it or its driver is not installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.in_use.conftest import names

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium with its driver here: apt-get install chromium chromium-driver"
)
WAIT = 30  # seconds


@pytest.fixture(scope="module")
def url(chosen_folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "shipclip", "demo", str(chosen_folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        yield re.search(r"http://\S+", process.stdout.readline()).group(0)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def driver() -> Iterator:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield found
    found.quit()


@pytest.fixture
def page(driver, url: str):
    driver.get(url)
    until(driver, lambda: len(classes(driver)) >= 8)
    return driver


def until(driver, true) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, WAIT).until(lambda _: true())


def classes(driver) -> list[str]:
    return texts(driver, "#classes .name")


def texts(driver, selector: str) -> list[str]:
    """Of all such elements at one moment."""
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())", selector
    )


def drop(driver, *files: Path) -> None:
    driver.find_element("id", "files").send_keys("\n".join(map(str, files)))
    until(driver, lambda: all(text not in ("", "…") for text in texts(driver, ".answer strong")))


def test_an_image_gets_five_bars_and_the_nearest_training_images(page, photos: Path):
    drop(page, photos / "test" / names()[0] / "0.png")
    shares = [float(text.rstrip(" %")) for text in texts(page, ".bars .share")]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True) and sum(shares) <= 100.5
    widths = [element.size["width"] for element in page.find_elements("css selector", ".bars .fill")]
    assert widths == sorted(widths, reverse=True)
    pictures = page.find_elements("css selector", ".near img")
    assert len(pictures) == 4
    until(page, lambda: all(page.execute_script("return arguments[0].naturalWidth", one) > 0 for one in pictures))
    assert not [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def test_an_unknown_image_is_flagged(page, chosen, others: Path):
    file = next((one for one in sorted(others.rglob("*.png")) if chosen.predict(one)[0].unknown), None)
    if file is None:
        pytest.skip("this model takes all of them for known")
    drop(page, file)
    assert texts(page, ".answer strong") == ["none of the classes"]
    assert page.find_element("css selector", ".flag").is_displayed()


def test_a_class_is_added_renamed_and_removed_and_the_change_is_seen(page, photos: Path):
    drop(page, photos / "test" / names()[0] / "1.png")
    before = texts(page, ".bars .name")
    page.find_element("id", "new-name").send_keys("octopus")
    page.find_element("css selector", "#add button").click()
    until(page, lambda: "octopus" in classes(page))
    page.find_element("css selector", "[aria-label='Rename octopus']").click()
    field = page.find_element("css selector", "#classes input")
    field.clear()
    field.send_keys("squid\n")
    until(page, lambda: "squid" in classes(page) and "octopus" not in classes(page))
    page.find_element("css selector", f"[aria-label='Remove {before[0]}']").click()
    until(page, lambda: before[0] not in classes(page))
    until(page, lambda: len(found := texts(page, ".bars .name")) == 5 and before[0] not in found)
    page.find_element("id", "new-name").send_keys("squid")
    page.find_element("css selector", "#add button").click()
    until(page, lambda: page.find_element("id", "problem").is_displayed())
    assert "have the same name" in page.find_element("id", "problem").text


def test_a_file_that_is_no_image_is_told_beside_it(page, tmp_path: Path):
    (tmp_path / "note.png").write_text("no image")
    drop(page, tmp_path / "note.png")
    assert texts(page, ".answer strong")[0].startswith("this is no image")
    page.find_element("css selector", ".close").click()
    assert texts(page, ".result") == []


@pytest.mark.parametrize("width", [360, 1300])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_narrow_and_wide_windows_and_can_be_read_in_light_and_dark(page, photos: Path, width: int, scheme: str):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    drop(page, photos / "test" / names()[0] / "2.png")
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    for selector in ("h1", "#facts", ".bars .name", ".near span", "#classes .name", "#classes .of", ".small"):
        assert contrast(page, selector) >= 4.5, selector  # WCAG 2, level AA


def contrast(page, selector: str) -> float:
    """Of an element's ink and the ground behind it, as WCAG 2 defines it."""
    script = """
        let e = document.querySelector(arguments[0]), ink = getComputedStyle(e).color, ground;
        do { ground = getComputedStyle(e).backgroundColor; e = e.parentElement; } while (/, 0\\)$/.test(ground) && e);
        return [ink, ground];
    """
    light = []
    for colour in page.execute_script(script, selector):
        parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        light.append(sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return (max(light) + 0.05) / (min(light) + 0.05)
