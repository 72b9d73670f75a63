"""Take the picture of a report's top that the READMEs show: `python .ci/screenshot.py FOLDER`."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZE = {"width": 1160, "height": 900}


def main(folder: str) -> None:
    """Write `report.png` beside `report.html`, as a browser of the system shows it."""
    page = Path(folder, "report.html").resolve()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = window.new_page(viewport=SIZE, color_scheme="light")
        tab.goto(page.as_uri())
        tab.screenshot(path=page.with_suffix(".png"))
        window.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
