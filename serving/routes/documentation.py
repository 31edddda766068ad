"""`GET /`: what this server is, and where to go on. `GET /docs`: the OpenAPI document in Swagger UI.

Swagger UI's files lie in `swagger_ui/` and are served from here, so both pages work without a network. Their
Content-Security-Policy allows this server's own files and nothing else; the one script in a page is named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from mlflow_project import __version__
from mlflow_project.errors import NotFound

router = APIRouter()

_FILES = Path(__file__).parent / "swagger_ui"
_SERVED = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon-32x32.png": "image/png"}
PATHS = frozenset({"/", "/docs", *(f"/docs/{name}" for name in _SERVED)})
"""What this module answers. None of it needs an API key."""
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)

_LINKS = {
    "/docs": "the API's documentation, where you can try each call",
    "/openapi.json": "the same as an OpenAPI document",
    "/releases": "which releases this server answers with now, and which it refuses",
    "/health/ready": "whether it is ready for traffic",
}
_CONSOLE = "the web console: what is live, how good it is, and the controls to change it"
_SUMMARY = (
    "This is a Switchyard server. It answers with the prompts and models whose releases are sealed and live in MLflow."
)
_HOME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Switchyard</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }
pre { overflow-x: auto; background: #eee; color: #111; padding: 1rem }</style>
</head>
<body>
<h1>Switchyard</h1>
<p>SUMMARY</p>
<ul>
LINKS
</ul>
<p>Ask the prompt <code>qa</code> a question:</p>
<pre>curl SERVER/prompts/qa/invocations -H "Content-Type: application/json" \\
  -d '{"variables": {"question": "What does a seal bind?"}}'</pre>
<p>Version VERSION. <code>switchyard live</code> says what is live, <code>make status</code> where MLflow is.</p>
</body>
</html>"""


@router.get("/", include_in_schema=False)
async def home(request: Request) -> Response:
    """A page for a browser, the same as JSON for everyone else."""
    console: str = request.app.state.console_url
    links = {console: _CONSOLE, **_LINKS}
    if "text/html" in request.headers.get("accept", ""):
        host, port = request.scope["server"]
        return _page(_home(host, port, links))
    return JSONResponse({"name": "Switchyard", "version": __version__, "about": _SUMMARY, "links": links})


@router.get("/docs", include_in_schema=False)
async def documentation() -> HTMLResponse:
    """Swagger UI."""
    return _page(_swagger_ui())


@router.get("/docs/{file}", include_in_schema=False)
async def documentation_file(file: str) -> FileResponse:
    """One of Swagger UI's files."""
    if file not in _SERVED:
        raise NotFound(f"/docs has no file {file!r}.")
    return FileResponse(_FILES / file, media_type=_SERVED[file])


def _home(host: str, port: int, links_to: Mapping[str, str]) -> str:
    """The page for the address that this server listens on; never the one that a caller claims in `Host`."""
    links = "\n".join(
        f'<li><a href="{escape(path)}">{escape(path)}</a>: {what}</li>' for path, what in links_to.items()
    )
    filled = {"SUMMARY": _SUMMARY, "LINKS": links, "SERVER": f"http://{host}:{port}", "VERSION": __version__}
    return re.sub("|".join(filled), lambda word: filled[word[0]], _HOME)


@cache
def _swagger_ui() -> str:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Switchyard",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon-32x32.png",
    )
    return bytes(page.body).decode()


def _page(text: str) -> HTMLResponse:
    return HTMLResponse(text, headers={"Content-Security-Policy": _policy(text)})


@cache
def _policy(page: str) -> str:
    """This server's files, and the scripts and styles that stand in the page itself."""
    allowed = {"script": ["'self'"], "style": ["'self'"]}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; script-src {' '.join(allowed['script'])}; style-src {' '.join(allowed['style'])}; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
