"""The text that a reader sees of an HTML page: blocks as paragraphs, headings as Markdown headings, `<pre>` as a fence.

In: UTF-8 bytes. libxml2 reads broken pages as browsers do, in time linear in their length. Out: text and title. Needs
lxml; executors need it for HTML only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lxml import etree

_BLOCKS = {
    *("address", "article", "aside", "blockquote", "caption", "dd", "details", "dialog", "div", "dl", "dt", "fieldset"),
    *("figcaption", "figure", "footer", "form", "header", "hr", "legend", "li", "main", "nav", "ol", "option", "p"),
    *("section", "summary", "table", "tr", "ul"),
}
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_CELLS = frozenset({"td", "th"})
_UNSEEN = frozenset({"script", "style", "template", "noscript", "head"})
_LANDMARKS = frozenset({"nav", "aside", "footer", "header"})
_LANDMARK_ROLES = frozenset({"navigation", "banner", "contentinfo", "complementary", "search"})
_CONTENT = frozenset({"main", "article"})
"""A header or footer inside these belongs to the content: it holds an article's title or its notes."""
_SPACE = re.compile(r"[ \t\r\n\f]+")
_SPACES = re.compile(r"  +")
_BREAKS = re.compile(r" ?\n ?(?:\n ?)*")


def visible_text(page: bytes, without_landmarks: bool = False) -> tuple[str, str]:
    """Text and title of a page. `without_landmarks` leaves out what a page marks as navigation, banner or footer."""
    parser = etree.HTMLParser(target=_Reader(without_landmarks), encoding="utf-8", huge_tree=True)
    parser.feed(page)
    text, title = parser.close()
    return text, title


class _Reader:
    """Receives lxml's events. Each start of an element has its end, even if the page lacks it."""

    def __init__(self, without_landmarks: bool) -> None:
        self._without_landmarks = without_landmarks
        self._depth = self._content = 0
        self._landmark: int | None = None  # the depth of the landmark that is left out, until it ends
        self._title: list[str] = []
        self._whole: list[str] = []
        self._prose: list[str] = []
        self._fence: list[str] = []
        self._unseen = self._titles = self._fences = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        self._content += tag in _CONTENT
        if self._landmark is not None:
            return
        if self._without_landmarks and self._is_landmark(tag, attributes):
            self._landmark = self._depth
        elif tag in _UNSEEN:
            self._unseen += 1
        elif tag == "title":
            self._titles += 1
        elif tag == "pre":
            self._end_of_prose()
            self._fences += 1
        elif tag == "br":
            self._write("\n")
        elif tag in _CELLS:
            self._write(" ")
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._write("\n\n" + _HEADINGS.get(tag, ""))

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._content -= tag in _CONTENT
        if self._landmark is not None:
            if self._depth < self._landmark:
                self._landmark = None
                self._write("\n\n")
        elif tag in _UNSEEN:
            self._unseen -= 1
        elif tag == "title":
            self._titles -= 1
        elif tag == "pre":
            self._fences -= 1
            if not self._fences:
                self._end_of_fence()
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._write("\n\n")

    def data(self, text: str) -> None:
        if self._landmark is not None:
            return
        if self._titles:
            self._title.append(text)
        elif not self._unseen:
            self._write(text if self._fences else _SPACE.sub(" ", text))

    def close(self) -> tuple[str, str]:
        self._end_of_prose()
        title = _SPACE.sub(" ", "".join(self._title)).strip()
        return "\n\n".join(self._whole), title

    def _is_landmark(self, tag: str, attributes: Mapping[str, str]) -> bool:
        if attributes.get("role", "").strip().lower() in _LANDMARK_ROLES:
            return True
        return tag in _LANDMARKS and (tag in ("nav", "aside") or not self._content)

    def _write(self, text: str) -> None:
        (self._fence if self._fences else self._prose).append(text)

    def _end_of_prose(self) -> None:
        """Finish a run of prose. One line break stays one; several breaks end a paragraph."""
        prose = _BREAKS.sub(_one_or_two, _SPACES.sub(" ", "".join(self._prose))).strip()
        self._whole += [prose] if prose else []
        self._prose = []

    def _end_of_fence(self) -> None:
        """Finish a fence. Its spaces and line breaks are kept."""
        code = "".join(self._fence).strip("\n")
        self._whole += [f"```\n{code}\n```"] if code.strip() else []
        self._fence = []


def _one_or_two(breaks: re.Match[str]) -> str:
    return "\n\n" if breaks[0].count("\n") > 1 else "\n"
