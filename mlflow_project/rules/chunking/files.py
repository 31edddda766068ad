"""A whole file as a document: .txt and .md as they are, .html as the text that a reader sees, headings as Markdown.

In: bytes, the file's address, the folder it was found from. Out: a document whose id is the path below that folder.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import unquote

from mlflow_project.rules.chunking.records import (
    MOST_BYTES,
    Document,
    Reason,
    Rejected,
    checked_id,
    checked_text,
    document,
)

_FIRST_HEADING = re.compile(r"^ {0,3}# +(.+?)[ #]*$", re.MULTILINE)
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
    *("footer", "form", "header", "hr", "li", "main", "nav", "ol", "p", "section", "table", "tr", "ul"),
}
_UNSEEN = frozenset({"script", "style", "template", "noscript", "head"})
_SPACE = re.compile(r"[ \t\r\n\f]+")


def read_file(data: bytes, address: str, base: str) -> Document | Rejected:
    """Read one file."""
    if len(data) > MOST_BYTES:
        return Rejected(Reason.TOO_LONG, f"The file has {len(data):,} bytes; at most {MOST_BYTES:,} are read.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        return Rejected(Reason.NOT_UTF8, f"The file is not UTF-8: byte {wrong.start} is {data[wrong.start]:#04x}.")
    path = _below(address, base)
    title = ""
    if PurePosixPath(path).suffix.lower() in (".html", ".htm"):
        text, title = _seen(text)
    heading = _FIRST_HEADING.search(text)
    title = title or (heading[1] if heading else "") or PurePosixPath(path).stem
    wrong_part = checked_id(path, "path") or checked_text(text, "text")
    return wrong_part or document(path, title.replace("\0", ""), text)


def _below(address: str, base: str) -> str:
    address, base = (unquote(re.sub(r"^([a-z0-9]+):/+", r"\1:/", each)) for each in (address, base))
    return address.removeprefix(base).lstrip("/")


def _seen(html: str) -> tuple[str, str]:
    page = _Page()
    page.feed(html)
    page.close()
    return page.text(), page.title.strip()


class _Page(HTMLParser):
    """Collects what a reader sees; blocks become paragraphs, headings Markdown headings, <pre> a fence."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._parts: list[str] = []
        self._unseen = 0
        self._in_title = False
        self._pre = False

    def text(self) -> str:
        joined = re.sub(r" *\n *(?:\n *)+", "\n\n", "".join(self._parts)) if "```" not in self._parts else ""
        return (joined or "".join(self._parts)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag == "title":
            self._in_title = True
        elif tag == "pre":
            self._pre = True
            self._parts.append("\n\n```\n")
        elif len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._parts.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag in _BLOCKS:
            self._parts.append("\n" if tag == "br" else "\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag == "title":
            self._in_title = False
        elif tag == "pre":
            self._pre = False
            self._parts.append("\n```\n\n")
        elif tag in _BLOCKS or (len(tag) == 2 and tag[0] == "h" and tag[1] in "123456"):
            self._parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._unseen:
            self._parts.append(data if self._pre else _SPACE.sub(" ", data))
