"""Says which kind of document a file is. In: its bytes and its name. Out: a `Kind`, or None for text and the unknown.

The first bytes decide, because names lie; the name decides for HTML and e-mail, which begin like any text.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["pdf", "docx", "pptx", "epub", "mail", "html"]

_BY_NAME: dict[str, Kind] = {".html": "html", ".htm": "html", ".xhtml": "html", ".eml": "mail"}
_PACKED: dict[bytes, Kind] = {
    b"word/document.xml": "docx",
    b"ppt/presentation.xml": "pptx",
    b"application/epub+zip": "epub",
}
"""What a zip archive of this kind contains, uncompressed: the name of its main file, or its media type."""
_MOST_BEFORE_A_PDF = 1024
"""Readers accept so many bytes before the signature of a PDF."""
TEXTUAL: frozenset[Kind] = frozenset({"html", "mail"})
"""Kinds that are text in the file already; a name alone says that a file is one."""
ENDINGS = (".pdf", ".docx", ".pptx", ".epub", *_BY_NAME)


def kind_of(data: bytes, name: str) -> Kind | None:
    """The kind of a file."""
    suffix = PurePosixPath(name).suffix.lower()
    if data.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in data[:_MOST_BEFORE_A_PDF]):
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        return next((kind for mark, kind in _PACKED.items() if mark in data), None)
    return _BY_NAME.get(suffix)
