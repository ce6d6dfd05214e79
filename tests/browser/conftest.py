"""Reports in a real browser: Debian's Chromium without a window, driven by Playwright, which downloads nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
INSTALL = "apt-get install --no-install-recommends chromium"


def pytest_runtest_setup() -> None:
    """Skips what is in this folder. Here rather than in a fixture: so the summary has one line, not one per test."""
    if shutil.which("chromium") is None:
        pytest.skip(f"browser tests need Chromium: {INSTALL}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, and what it asked for and complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """Addresses of everything that was loaded, without what is in the page itself (data:)."""
    complaints: list[str] = field(default_factory=list)
    """Whatever stands in the console, and uncaught errors."""

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    @property
    def elements(self) -> int:
        count: int = self.page.evaluate("document.getElementsByTagName('*').length")
        return count

    def value(self, script: str) -> Any:
        return self.page.evaluate(script)


class Opener:
    """Opens files as somebody does who double-clicks them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.opened: list[Opened] = []

    def __call__(self, path: Path, hash_part: str = "", **context: Any) -> Opened:
        page = self._browser.new_context(**context).new_page()
        opened = Opened(page)
        page.on("request", lambda r: None if r.url.startswith("data:") else opened.requests.append(r.url))
        page.on("console", lambda message: opened.complaints.append(message.text))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.goto(path.as_uri() + hash_part)
        self.opened.append(opened)
        return opened


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    """Opens pages; at the end none of them may have complained or loaded anything but itself."""
    opener = Opener(browser)
    yield opener
    for opened in opener.opened:
        assert opened.complaints == []
        assert {url.partition("#")[0] for url in opened.requests} == {opened.page.url.partition("#")[0]}
        opened.page.context.close()
