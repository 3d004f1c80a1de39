"""The built site in a headless Chromium: every page at two widths, navigation, search, code copying, dark mode.

With PGENTRA_SCREENSHOTS=FOLDER, a picture of the top of each page at each width is written there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pages import SITE, own_pages
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, expect

SCREENSHOTS = os.environ.get("PGENTRA_SCREENSHOTS")
WIDTHS, HEIGHT = (1400, 400), 900
# The machine may be busy.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)


@contextmanager
def opened(browser: Browser, address: str, width: int = WIDTHS[0], **options: Any) -> Iterator[tuple[Page, list[str]]]:
    """Yields a page and the list of what went wrong in it: messages of its console, failed and external requests."""
    context = browser.new_context(viewport={"width": width, "height": HEIGHT}, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            wrong.append(f"{page.url}: {message.type}: {message.text}")

    def on_request(request: Request) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob") and not request.url.startswith(address):
            wrong.append(f"{page.url}: loads {request.url}")

    def on_failure(request: Request) -> None:
        # The next page ends what the last one still loads.
        if request.failure != "net::ERR_ABORTED":
            wrong.append(f"{page.url}: {request.url}: {request.failure}")

    def on_error(error: Error) -> None:
        wrong.append(f"{page.url}: {error}")

    page.on("console", on_console)
    page.on("request", on_request)
    page.on("pageerror", on_error)
    page.on("requestfailed", on_failure)
    yield page, wrong
    context.close()


TOO_WIDE = """() => {
    const width = document.documentElement.clientWidth
    if (document.scrollingElement.scrollWidth <= width) return []
    return [...document.querySelectorAll('article *')]
        .filter((element) => element.getBoundingClientRect().right > width + 1)
        .slice(0, 3)
        .map((element) => element.outerHTML.slice(0, 120))
        .concat(`${document.scrollingElement.scrollWidth} px`)
}"""


def test_pages_at_every_width(browser: Browser, address: str) -> None:
    """Each page loads without an error and is not wider than the window. Tables and code may scroll by themselves."""
    with opened(browser, address) as (page, wrong):
        for path in own_pages():
            name = path.relative_to(SITE).as_posix()
            page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
            page.goto(f"{address}/{name}", wait_until="load")
            if name != "404.html" and not page.locator("article h1").first.inner_text().strip():
                wrong.append(f"{name}: no title")
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": HEIGHT})
                wrong += [f"{name} at {width} px is too wide: {element}" for element in page.evaluate(TOO_WIDE)]
                if SCREENSHOTS:
                    picture = f"{name.replace('/', '-').removesuffix('.html')}-{width}.png"
                    page.screenshot(path=Path(SCREENSHOTS) / picture)
        assert not wrong


def test_navigation_by_links(browser: Browser, address: str) -> None:
    with opened(browser, address) as (page, wrong):
        page.goto(f"{address}/index.html")
        sidebar = page.locator(".md-sidebar--primary")
        sidebar.get_by_text("Guides", exact=True).first.click()
        sidebar.get_by_role("link", name="Troubleshooting").click()
        expect(page).to_have_url(re.compile(r"/troubleshooting\.html$"))
        page.locator(".md-sidebar--secondary a.md-nav__link").nth(1).click()
        expect(page).to_have_url(re.compile(r"/troubleshooting\.html#.+"))
        page.locator(".md-footer__link--next").click()
        expect(page).not_to_have_url(re.compile("troubleshooting"))
        assert not wrong


def test_navigation_on_small_screen(browser: Browser, address: str) -> None:
    with opened(browser, address, width=WIDTHS[1]) as (page, wrong):
        page.goto(f"{address}/index.html")
        page.locator("label.md-header__button[for=__drawer]").click()
        drawer = page.locator(".md-sidebar--primary")
        drawer.get_by_role("link", name="Get started").click()
        expect(page).to_have_url(re.compile(r"/get-started\.html$"))
        assert not wrong


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("access token has expired", "troubleshooting.html"),
        ("AsyncEntraConnection", "reference/python.html"),
        ("WorkloadIdentityCredential", "credentials.html"),
    ],
)
def test_search(browser: Browser, address: str, words: str, result: str) -> None:
    with opened(browser, address) as (page, wrong):
        page.goto(f"{address}/index.html")
        page.locator("input.md-search__input").press_sequentially(words)
        page.locator(f".md-search-result__link[href*='{result}']").first.click()
        expect(page).to_have_url(re.compile(re.escape(result)))
        assert not wrong


def test_code_copying(browser: Browser, address: str) -> None:
    with opened(browser, address, permissions=["clipboard-read", "clipboard-write"]) as (page, wrong):
        page.goto(f"{address}/get-started.html")
        block = page.locator("div.highlight").first
        block.hover()
        block.locator("button[data-md-type=copy], button.md-clipboard").first.click()
        page.locator(".md-dialog--active").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.strip() and copied.strip() == block.locator("code").inner_text().strip()
        assert not wrong


def test_dark_mode(browser: Browser, address: str) -> None:
    """The scheme follows the system until the reader chooses one."""
    with opened(browser, address, color_scheme="dark") as (page, wrong):
        page.goto(f"{address}/index.html")
        expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")
        page.emulate_media(color_scheme="light")
        expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "default")
        assert not wrong
