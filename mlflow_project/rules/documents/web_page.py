"""Reads HTML pages without navigation, banners, footers and cookie notices. Needs trafilatura and lxml.

trafilatura finds the main text of a page (Barbaresi, "Trafilatura", ACL 2021). It may mistake a short page, or one of
many small parts, for boilerplate; then the text between the page's own landmarks (`<nav>`, `<header>`, `<footer>`,
`<aside>` and their ARIA roles) is taken, and the whole page if it has nothing else.
"""

from __future__ import annotations

import re
from functools import partial

from mlflow_project.rules.chunking.html_page import visible_text
from mlflow_project.rules.chunking.records import Reason
from mlflow_project.rules.documents.opened import NotReadable, Opened

_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([a-zA-Z0-9_-]{2,40})""", re.IGNORECASE)
_WHERE_A_CHARSET_STANDS = 2048
_LEAST_SHARE = 0.2
"""If trafilatura keeps less of the text between the landmarks than this, it lost the page's content."""
_EMPHASIS = ("b", "strong", "i", "em", "u", "mark", "small", "font")


def open_page(data: bytes) -> Opened:
    """Open a page.

    Raises:
        NotReadable: its characters are neither UTF-8 nor in the encoding that it declares.
    """
    page = decoded(data).encode()
    _, title = visible_text(page)
    return Opened(title, [partial(main_text, page)])


def main_text(page: bytes) -> str:
    """The main text of a page in UTF-8, as Markdown."""
    import trafilatura
    from lxml import etree

    between, _ = visible_text(page, without_landmarks=True)
    tree = trafilatura.load_html(page)
    found = None
    if tree is not None:
        etree.strip_tags(tree, *_EMPHASIS)  # a search for a word in bold must not meet its asterisks
        found = trafilatura.extract(tree, output_format="markdown", include_comments=False, favor_recall=True)
    if found and len(found) >= _LEAST_SHARE * len(between):
        return str(found)
    return between or visible_text(page)[0]


def decoded(data: bytes) -> str:
    """The characters of a page: UTF-8, or the encoding that the page declares.

    Raises:
        NotReadable: they are neither.
    """
    declared = _CHARSET.search(data[:_WHERE_A_CHARSET_STANDS])
    for encoding in ("utf-8-sig", declared[1].decode() if declared else "utf-8"):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    raise NotReadable(Reason.NOT_UTF8, "The page is not UTF-8, and not in the encoding that it declares, if any.")
