"""`python -m tests.console.screenshots`: the four pictures of the guide, of a stack of its own. Out: PNG files in
`docs/pictures`.
"""

from __future__ import annotations

import shutil
import sys

from playwright.sync_api import sync_playwright

from mlflow_project.api_keys import KeyFile
from mlflow_project.domain.rollout import Plan
from mlflow_project.promotion.promote import promote
from mlflow_project.rollouts.start import start
from mlflow_project.settings import ConsoleSettings, KeySettings, load
from tests.conftest import ROOT, own_settings, running
from tests.serving.conftest import Releases

IMAGES = ROOT / "docs" / "pictures"
SIZE = {"width": 1100, "height": 760}


def main() -> int:
    """Start a stack, release something, and take the pictures; 2: there is no browser."""
    browser = shutil.which("chromium")
    if browser is None:
        sys.stderr.write("The pictures need Chromium (Debian: apt-get install chromium).\n")
        return 2
    with own_settings() as state:
        running(state, "minio", "mlflow", "follower", "server", "guard", "console")
        name = released()
        key, _ = KeyFile(load(KeySettings).api_keys_file).create("anna", ("operator", "approver"))
        take(browser, load(ConsoleSettings).console_url, name, key)
    return 0


def released() -> str:
    """Two prompts, one of them with a rollout under way."""
    releases, name = Releases(), "support"
    parts = releases.parts
    first = releases.seal(name, "Answer the question in one sentence. Name the page that you quote.")
    promote(parts, name, first.version, "Production", "key:ben", "the first release")
    second = releases.seal(name, "Answer the question in at most two sentences. Cite the page.", champion=first)
    promote(parts, name, second.version, "Production", "key:anna", "shorter answers")
    other = releases.seal("translate", "Translate the text into English.")
    promote(parts, "translate", other.version, "Production", "key:ben", "the first release")
    better = releases.seal("translate", "Translate the text into plain English.", champion=other)
    start(parts, "translate", better.version, Plan((0.05, 0.25, 1.0)), "key:ben", "careful, it is new", "", ())
    return name


def take(browser: str, url: str, name: str, key: str) -> None:
    """The pages Live, one version, what differs, and the record."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page(viewport=SIZE, color_scheme="light")
        page.goto(f"{url}/sign-in")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Sign out").wait_for()
        for picture, path in (
            ("console-live", "/"),
            ("console-version", f"/names/{name}/2"),
            ("console-diff", f"/names/{name}/diff?before=1&after=2"),
            ("console-record", "/record"),
        ):
            page.goto(f"{url}{path}")
            if picture == "console-live":
                page.get_by_text("Roll back…").first.click()
            page.screenshot(path=IMAGES / f"{picture}.png")
        started.close()


if __name__ == "__main__":
    sys.exit(main())
