"""The documentation as a website: it builds without a warning and needs no network."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import DOCS, FILES, ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", DOCS / "mkdocs.yml",
         "--site-dir", folder], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    elsewhere = re.compile(r'<(?:script|img|link|iframe)\b[^>]*"(?:https?:)?//[^"]*"')
    pages = list(site.rglob("*.html"))
    # All but the README, the reports, and the page of what is not found.
    assert len(pages) == len(FILES) - 1 + len(list(ROOT.glob("reports/*.md"))) + 1
    for page in pages:
        assert not elsewhere.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(.?(?:https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_the_search_works_on_pages_opened_as_files(site: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not program:
        pytest.skip("needs a Chromium browser (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "reports" / "detection.html").as_uri())
        page.keyboard.press("/")
        page.keyboard.type("conformal")
        page.locator(".md-search-result__link").first.wait_for()
        links = page.locator(".md-search-result__link").all()
        found = " ".join(str(link.get_attribute("href")) for link in links)
        browser.close()
    assert "threshold.html" in found and "how-it-works.html" in found
    assert all(url.startswith("file:") for url in asked)
