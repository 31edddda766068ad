"""The console in Chromium: a rollback in two clicks, no violation that axe finds, and hostile texts shown as texts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from mlflow_project.promotion.promote import promote
from tests.console.conftest import Console
from tests.serving.conftest import until

BROWSER = shutil.which("chromium")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert BROWSER is not None, "These tests need Chromium (Debian: apt-get install chromium)."
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test on anything that the policy refused or that a script did wrong."""
    context = browser.new_context(color_scheme="light")
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert wrong == []


def sign_in(page: Page, console: Console, *roles: str) -> None:
    page.goto(f"{console.url}/sign-in")
    page.get_by_label("API key").fill(console.key(*roles))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()


def violations(page: Page) -> list[Any]:
    found = Axe().run(page, options=RULES).response["violations"]
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]


def test_a_rollback_takes_two_clicks_and_its_receipts_come_one_by_one(page: Page, console: Console) -> None:
    name = f"clicks-{uuid4().hex[:6]}"
    first = console.releases.seal(name, "One.")
    promote(console.releases.parts, name, first.version, "Production", "user:test")
    second = console.releases.seal(name, "Two.", champion=first)
    promote(console.releases.parts, name, second.version, "Production", "user:test")
    sign_in(page, console, "operator")
    page.goto(f"{console.url}/?search={name}")
    assert violations(page) == []
    page.get_by_text("Roll back…").click()
    page.get_by_role("button", name=f"Roll back {name} to {name}/1").click()
    page.get_by_text("✓ Done").wait_for()
    lines = page.locator("#operation-lines li").all_inner_texts()
    assert lines[0].startswith("Receipt: ")
    assert lines[1].startswith(f"Production of {name} -> {name}/1 (was {name}/2)")
    assert violations(page) == []


def test_no_page_has_a_violation_and_hostile_texts_run_nothing(page: Page, console: Console) -> None:
    sign_in(page, console, "operator", "approver", "reviewer")
    name = console.name
    for path in (
        "/sign-in",
        "/names",
        f"/names/{name}",
        f"/names/{name}/3",
        f"/names/{name}/diff?before=2&after=3",
        f"/record?name={name}&at=2026-01-01",
        "/record?name=nobody",
        "/?search=nobody",
        "/playground",
        "/traffic",
        "/knowledge",
        f"/drift?name={name}",
    ):
        page.goto(f"{console.url}{path}")
        assert "taken" not in page.title(), path
        assert violations(page) == [], path
    page.goto(f"{console.url}/names/{name}/3")
    assert "<script>document.title=" in page.locator("main").inner_text()


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_violation_in_either_scheme_open_or_narrow(
    browser: Browser, console: Console, scheme: Any
) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 400, "height": 800})
    page = context.new_page()
    sign_in(page, console, "operator", "approver", "reviewer")
    for path in ("/", "/names", f"/names/{console.name}/2", f"/record?name={console.name}", "/nowhere"):
        page.goto(f"{console.url}{path}")
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
        assert violations(page) == [], (scheme, path)
    context.close()


@pytest.mark.long
def test_without_javascript_a_rollback_works_by_keyboard_alone(browser: Browser, console: Console) -> None:
    name = f"keyboard-{uuid4().hex[:6]}"
    first = console.releases.seal(name, "One.")
    promote(console.releases.parts, name, first.version, "Production", "user:test")
    second = console.releases.seal(name, "Two.", champion=first)
    promote(console.releases.parts, name, second.version, "Production", "user:test")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{console.url}/sign-in?to=/?search={name}")
    page.keyboard.type(console.key("operator"))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()
    until(lambda: page.reload() and page.get_by_text("Roll back…").count() == 1, "the page shows the new release", 10)
    page.get_by_text("Roll back…").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Roll back {name}").focus()
    page.keyboard.press("Enter")
    page.get_by_text("✓ Done").wait_for()
    context.close()
