"""Makes pages of templates. In: a template's name and what it shows. Out: HTML, in which every text is escaped."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from http.client import responses
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from mlflow_project.domain.rollout import percent
from mlflow_project.domain.times import utc_text
from mlflow_project.errors import WorkspaceError

HERE = Path(__file__).parent
STATIC = HERE / "static"
_LONGEST = 20_000
"""Characters of one text on a page; the rest is counted."""
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_NOT_SHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of what follows."""


class Pages:
    """The templates, loaded once."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        shown = {"text": shown_text, "short": short_digest, "json": shown_json, "percent": percent}
        self._templates.filters |= {"ago": ago, "when": when, **shown}
        self._templates.globals["static"] = static_address

    def show(self, request: Request, template: str, status: int = 200, **shown: Any) -> HTMLResponse:
        """A page. Every template also gets `visit` and `path`."""
        values = {"visit": request.state.visit, "path": request.url.path, **shown}
        return HTMLResponse(self._templates.get_template(template).render(values), status)

    def error(self, request: Request, error: WorkspaceError) -> HTMLResponse:
        """The page of an error."""
        status = error.http_status
        page = self.show(
            request, "error.html", status, code=status, title=responses.get(status, "Error"), message=str(error)
        )
        if status in (429, 503):
            page.headers["retry-after"] = str(max(1, round(error.retry_after or 1)))
        return page


def ago(time: str | None) -> Markup:
    """A time as a person reads it, with the exact one on hover: `<time>`."""
    if not time:
        return Markup("—")
    try:
        moment = datetime.fromisoformat(time.replace("Z", "+00:00"))
    except ValueError:
        return Markup("{}").format(shown_text(time))
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(time, _relative(seconds))


def when(seconds: float) -> Markup:
    """A time in seconds since the epoch, as `ago` shows it."""
    return ago(utc_text(datetime.fromtimestamp(seconds, UTC), timespec="seconds"))


def _relative(seconds: float) -> str:
    """Seconds that have passed, in words."""
    for size, unit in _UNITS:
        count = int(abs(seconds) // size)
        if count:
            words = f"{count} {unit}{'s' if count > 1 else ''}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return "now"


def shown_text(text: Any, longest: int = _LONGEST) -> str:
    """A text without characters that change how others are shown, cut where it is very long."""
    clean = _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", str(text))
    return clean if len(clean) <= longest else f"{clean[:longest]}… ({len(clean) - longest:,} more characters)"


def short_digest(digest: str | None) -> str:
    """The beginning of a digest."""
    return digest[:19] if digest else "unreadable"


def shown_json(value: Any) -> str:
    """A value as JSON for people."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)


def static_address(name: str) -> str:
    """The address of one of the console's own files. It changes with the file, so browsers may keep it."""
    if name not in _MARKS:
        _MARKS[name] = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{_MARKS[name]}"


_MARKS: dict[str, str] = {}
