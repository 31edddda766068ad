"""Reads PDFs with pypdf: each page is a part, and citations name it. Needs pypdf, and cryptography for AES."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from io import BytesIO
from statistics import median
from typing import Any

from mlflow_project.rules.chunking.records import Reason
from mlflow_project.rules.documents.opened import NotReadable, Opened

_ENDS_A_SENTENCE = re.compile(r"[.!?:;…。！？]['\"»”’)\]]*$")
_BEGINS_ITS_OWN_LINE = re.compile(r"(?:[-*•‣▪–—]|\(?\d{1,3}[.)]|#{1,6}) ")
_NEARLY_FULL = 0.8
"""A line at least this long, as a share of the page's usual full line, was broken by the page's edge."""


def open_pdf(data: bytes) -> Opened:
    """Open a PDF.

    Raises:
        NotReadable: it has a password.
    """
    from pypdf import PdfReader

    reader = PdfReader(BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise NotReadable(Reason.ENCRYPTED, "The PDF has a password: remove it, then prepare again.")
    pages: list[Callable[[], str]] = [partial(_page, reader, number) for number in range(len(reader.pages))]
    title = reader.metadata.title if reader.metadata else None
    return Opened(str(title or "").strip(), pages, "page", cites_parts=True)


def _page(reader: Any, number: int) -> str:
    page = reader.pages[number]
    text = reflowed(page.extract_text())
    if not text.strip() and _has_picture(page):
        raise NotReadable(
            Reason.PAGE_WITHOUT_TEXT, "holds a picture and no text, like a scan: recognize its text (OCR)"
        )
    return text


def _has_picture(page: Any) -> bool:
    resources = page.get("/Resources")
    objects = resources.get_object().get("/XObject") if resources is not None else None
    return objects is not None and any(
        each.get_object().get("/Subtype") == "/Image" for each in objects.get_object().values()
    )


def reflowed(text: str) -> str:
    """Join the lines of a paragraph that the edge of the page broke, and words that a hyphen broke there.

    A line break stays where the line is short, ends a sentence, or the next one begins a list item.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    lengths = sorted(len(line) for line in lines if line)
    full = median(lengths[len(lengths) // 2 :]) if lengths else 0
    joined: list[str] = []
    was_full = False
    for line in lines:
        begin = line.lstrip()
        if was_full and begin and not _BEGINS_ITS_OWN_LINE.match(begin):
            before = joined[-1]
            hyphenated = before.endswith("-") and before[-2:-1].isalpha() and begin[0].islower()
            joined[-1] = before[:-1] + begin if hyphenated else f"{before} {begin}"
        else:
            joined.append(line)
        was_full = len(line) >= _NEARLY_FULL * full and not _ENDS_A_SENTENCE.search(line) and bool(line)
    return "\n".join(joined)
