"""The pages `/` and `/docs`: they need no network, and run no script but this server's own."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from mlflow_project.web import problems
from serving import app
from serving.routes import documentation

CONSOLE = "http://127.0.0.1:8001"
LOADED = re.compile(r'<(?:link|script|img)\b[^>]*?(?:src|href)="([^"]+)"')
FILES = Path(documentation.__file__).parent / "swagger_ui"


@pytest.fixture
def http() -> Iterator[TestClient]:
    pages = FastAPI(docs_url=None)
    pages.state.console_url = CONSOLE
    problems.add_to(pages)
    pages.include_router(documentation.router)
    with TestClient(pages, headers={"Host": "evil.example"}) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_elsewhere(http: TestClient, path: str) -> None:
    page = http.get(path, headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    loaded = LOADED.findall(page.text)
    assert loaded
    assert all(url.startswith("/") and not url.startswith("//") for url in loaded)
    assert "evil.example" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy


def test_swagger_ui_s_files_are_there_and_no_others(http: TestClient) -> None:
    for url in re.findall(r'(?:src|href)="(/docs/[^"]+)"', http.get("/docs").text):
        assert http.get(url).status_code == 200, url
    for file in ("README.md", "..%2fdocumentation.py", "%2e%2e/app.py", "SHA256SUMS"):
        assert http.get(f"/docs/{file}").status_code == 404, file


def test_swagger_ui_s_files_are_those_of_its_package() -> None:
    sums = dict(reversed(line.split()) for line in (FILES / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in FILES.iterdir()} - {"README.md", "SHA256SUMS"}
    for name, wanted in sums.items():
        assert hashlib.sha256((FILES / name).read_bytes()).hexdigest() == wanted, name


def test_a_program_gets_the_first_page_as_json(http: TestClient) -> None:
    assert set(http.get("/").json()["links"]) == {CONSOLE, "/docs", "/openapi.json", "/releases", "/health/ready"}


def test_the_pages_and_all_that_they_load_need_no_key(http: TestClient) -> None:
    loaded = {url for path in ("/", "/docs") for url in re.findall(r'(?:src|href)="([^"]+)"', http.get(path).text)}
    assert {"/", "/docs", *(url for url in loaded if url.startswith("/docs/"))} <= app.OPEN_PATHS
    assert "/releases" not in app.OPEN_PATHS


def test_the_first_page_leads_to_the_console(http: TestClient) -> None:
    assert f'<a href="{CONSOLE}">' in http.get("/", headers={"Accept": "text/html"}).text
