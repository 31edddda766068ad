"""Reads a document as one text: opens it and joins its parts, each bad part left out and reported.

In: bytes and their kind. Out: `DocumentText`, or a rejection.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from mlflow_project.rules.chunking.records import MOST_BYTES, Reason, Rejected
from mlflow_project.rules.documents.kinds import Kind
from mlflow_project.rules.documents.opened import NotReadable, Opened

NAMES: dict[Kind, str] = {
    "pdf": "PDF",
    "docx": "Word file",
    "pptx": "PowerPoint file",
    "epub": "EPUB",
    "mail": "e-mail",
    "html": "HTML page",
}
MOST_PARTS = 50_000


class Span(NamedTuple):
    """A page or slide: its number, from 1, and where its text starts and ends in the whole text, in code points."""

    number: int
    start: int
    end: int


class BadPart(NamedTuple):
    """A part that was left out: its number, from 1, and why."""

    number: int
    reason: Reason
    sentence: str


class DocumentText(NamedTuple):
    """The text of a document. `pages` is empty if citations name no pages."""

    title: str
    text: str
    metadata: dict[str, object]
    pages: list[Span]
    bad: list[BadPart]


def read_document(
    kind: Kind, data: bytes, limited: Callable[[], AbstractContextManager[object]] = nullcontext
) -> DocumentText | Rejected:
    """Read a document. Each part is read inside `limited()`, which may raise to give a part up.

    Raises:
        ImportError: the extra `documents` is not installed.
    """
    try:
        opened = _opener(kind)(data)
    except NotReadable as error:
        return Rejected(error.reason, error.sentence)
    except ImportError:
        raise
    except MemoryError:
        return too_large(kind)
    except RecursionError:
        return Rejected(Reason.UNREADABLE, f"The {NAMES[kind]} cannot be read: it is nested too deeply.")
    except Exception as error:  # a broken file makes a library fail in any way
        return Rejected(Reason.UNREADABLE, f"The {NAMES[kind]} cannot be read: {_said(error)}.")
    if len(opened.parts) > MOST_PARTS:
        return Rejected(
            Reason.TOO_LONG, f"The {NAMES[kind]} has {len(opened.parts):,} parts; at most {MOST_PARTS:,} are read."
        )
    return _joined(kind, opened, limited)


def too_large(kind: Kind) -> Rejected:
    """The rejection of a document that needs more memory than it may have."""
    return Rejected(Reason.TOO_MUCH_MEMORY, f"Reading the {NAMES[kind]} takes more memory than a document may have.")


def _joined(
    kind: Kind, opened: Opened, limited: Callable[[], AbstractContextManager[object]]
) -> DocumentText | Rejected:
    texts: list[str] = []
    pages: list[Span] = []
    bad: list[BadPart] = []
    length = 0
    for number, part in enumerate(opened.parts, start=1):
        try:
            with limited():
                text = _clean(part())
        except NotReadable as error:
            bad.append(BadPart(number, error.reason, f"{opened.part_name.capitalize()} {number} {error.sentence}."))
            continue
        except ImportError:
            raise
        except MemoryError:
            if len(opened.parts) == 1:
                return too_large(kind)
            sentence = f"{opened.part_name.capitalize()} {number} takes more memory than a document may have."
            bad.append(BadPart(number, Reason.BAD_PAGE, sentence))
            continue
        except Exception as error:  # as above; the other parts may be whole
            sentence = f"{opened.part_name.capitalize()} {number} cannot be read: {_said(error)}."
            bad.append(BadPart(number, Reason.BAD_PAGE, sentence))
            continue
        if text:
            start = length + 2 if texts else 0
            texts.append(text)
            length = start + len(text)
            pages.append(Span(number, start, length))
        if length > MOST_BYTES:
            return Rejected(Reason.TOO_LONG, f"The text is longer than {MOST_BYTES:,} characters.")
    if not texts:
        return _without_text(kind, bad)
    return DocumentText(
        _clean(opened.title), "\n\n".join(texts), dict(opened.metadata), pages if opened.cites_parts else [], bad
    )


def _without_text(kind: Kind, bad: list[BadPart]) -> Rejected:
    pictures = sum(part.reason is Reason.PAGE_WITHOUT_TEXT for part in bad)
    if len(bad) > pictures:
        return Rejected(Reason.UNREADABLE, f"No part of the {NAMES[kind]} can be read. {bad[0].sentence}")
    scan = f" Pages with a picture: {pictures:,}. It looks like a scan: recognize its text (OCR) first."
    return Rejected(Reason.EMPTY_TEXT, f"The {NAMES[kind]} holds no text.{scan if pictures else ''}")


def _clean(text: str) -> str:
    """The text without NUL characters and halves of surrogate pairs, which no UTF-8 text holds."""
    return text.replace("\0", "").encode("utf-8", "replace").decode().strip()


def _said(error: Exception) -> str:
    said = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}{': ' + said.rstrip('.') if said else ''}"


def _opener(kind: Kind) -> Callable[[bytes], Opened]:
    """The function that opens this kind. Loads the libraries of this kind only."""
    if kind == "pdf":
        from mlflow_project.rules.documents.pdf import open_pdf as opener
    elif kind == "docx":
        from mlflow_project.rules.documents.office import open_docx as opener
    elif kind == "pptx":
        from mlflow_project.rules.documents.office import open_pptx as opener
    elif kind == "epub":
        from mlflow_project.rules.documents.epub import open_epub as opener
    elif kind == "mail":
        from mlflow_project.rules.documents.mail import open_mail as opener
    else:
        from mlflow_project.rules.documents.web_page import open_page as opener
    return opener
