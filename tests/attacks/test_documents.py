"""Somebody puts pages and texts into the corpus that are dear to read.

The attacker writes documents. He wants a job that prepares texts to hang. He gets chunks, in time that grows with the
length of his documents.
"""

from __future__ import annotations

import time
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest

from mlflow_project.rules.chunking.html_page import visible_text
from mlflow_project.rules.chunking.records import Reason, Rejected
from mlflow_project.rules.chunking.splitter import Splitter, split
from mlflow_project.rules.chunking.structure import structure_of
from mlflow_project.rules.documents.reading import DocumentText
from spark_jobs.document_reader import DocumentLimits, DocumentReader
from tests.spark import made_documents as made

MOST_SECONDS = 20.0
"""For a megabyte; all of them take less than a second on a quiet machine, and minutes where time grows by squares."""
LENGTH = 1_000_000

PAGES = {
    "nested blocks": "<div>",
    "nested tables": "<table><tr><td>",
    "open links": "<a href=x>",
    "open formatting": "<b><i>",
    "open comments": "<!--",
    "open scripts": "<script>",
    "open fences": "<pre>",
    "brackets": "<",
    "entities": "&amp;",
    "half entities": "&",
    "ends without beginnings": "</p></b>",
    "spaces and breaks": " <br> ",
    "crossed": "<a><b></a></b>",
}
TEXTS = {
    "fences": "```\n",
    "growing fences": "~~~~\n```\n",
    "headings": "# \n",
    "tables": "|-|-|\n",
    "bars": "|",
    "dashes": "-" * 50 + "|" * 50 + "\n",
    "spaces": " ",
    "blank lines": "\n",
    "hashes": "#",
    "stops": ".",
    "full-width stops": "。",
    "words without end": "a",
}


@pytest.mark.parametrize("piece", PAGES.values(), ids=PAGES)
def test_a_hostile_page_is_read_in_linear_time(piece: str) -> None:
    _read(lambda: visible_text((piece * (LENGTH // len(piece))).encode()))


@pytest.mark.parametrize("piece", TEXTS.values(), ids=TEXTS)
def test_hostile_markdown_is_read_in_linear_time(piece: str) -> None:
    text = piece * (LENGTH // len(piece))
    _read(lambda: split(text, Splitter(), structure_of(text)))


def _read(read: Callable[[], object]) -> None:
    began = time.thread_time()
    read()
    assert time.thread_time() - began < MOST_SECONDS


def test_a_page_that_takes_too_long_is_left_out_and_the_others_are_read() -> None:
    """He hides a page of two million letters in a PDF; it takes seconds, and the pages around it stay."""
    reader = DocumentReader(DocumentLimits(page_seconds=0.5))
    found = reader.read("pdf", made.pdf(["First.", "(word) Tj\n" * 60_000, "Last."]))
    reader.close()
    assert isinstance(found, DocumentText)
    assert found.text == "First.\n\nLast."
    assert [(part.number, part.reason) for part in found.bad] == [(2, Reason.BAD_PAGE)]
    assert "processor time" in found.bad[0].sentence


def test_a_document_that_takes_too_long_ends_its_reader_and_not_the_next_document() -> None:
    """He fills a PDF with such pages. The system ends the child process; the next document gets a new one."""
    reader = DocumentReader(DocumentLimits(seconds=1, page_seconds=60))
    slow = reader.read("pdf", made.pdf(["(word) Tj\n" * 60_000]))
    assert isinstance(slow, Rejected)
    assert slow.reason is Reason.TOO_SLOW
    assert isinstance(reader.read("mail", made.message()), DocumentText)
    reader.close()


def test_a_document_that_takes_too_much_memory_is_rejected_and_the_next_one_is_read() -> None:
    """He writes a page whose tree takes a hundred times its bytes."""
    reader = DocumentReader(DocumentLimits(memory=250 << 20))
    large = reader.read("html", b"<p><b>x</b>" * 300_000)
    assert isinstance(large, Rejected)
    assert large.reason in (Reason.TOO_MUCH_MEMORY, Reason.UNREADABLE)
    assert isinstance(reader.read("mail", made.message()), DocumentText)
    reader.close()


def test_a_pdf_whose_page_unpacks_to_much_more_loses_that_page() -> None:
    """He packs 100 MB of spaces into one page of a PDF. The page is left out, and the next one is read."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(100)) + packer.flush()
    bomb = made.pdf([made.BROKEN, "Last."]).replace(b"/NoSuchFilter", b"/FlateDecode")
    bomb = bomb.replace(b"/Length 12", b"/Length %d" % len(packed)).replace(b"no zlib data", packed)
    reader = DocumentReader(DocumentLimits(memory=400 << 20))
    found = reader.read("pdf", bomb)
    reader.close()
    assert isinstance(found, DocumentText)
    assert (found.text, [part.number for part in found.bad]) == ("Last.", [1])


def test_a_word_file_that_unpacks_to_much_more_is_rejected_unread() -> None:
    """He packs 300 MB of zeros into a Word file of 300 KB."""
    bomb = BytesIO(made.word_file())
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.xml", "w") as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    reader = DocumentReader(DocumentLimits())
    began = time.monotonic()
    found = reader.read("docx", bomb.getvalue())
    reader.close()
    assert isinstance(found, Rejected)
    assert found.reason is Reason.TOO_MUCH_MEMORY
    assert time.monotonic() - began < MOST_SECONDS


def test_a_book_with_damaged_bytes_loses_the_damaged_chapter_or_is_unreadable() -> None:
    """He, or a bad disk, damages a book: each byte range in turn. What is read is whole, and the rest has a reason."""
    book = made.book()
    reader = DocumentReader(DocumentLimits())
    for at in range(0, len(book), len(book) // 20):
        found = reader.read("epub", book[:at] + bytes(20) + book[at + 20 :])
        if isinstance(found, Rejected):
            assert found.reason in (Reason.UNREADABLE, Reason.EMPTY_TEXT, Reason.ENCRYPTED)
        else:
            assert all(part.reason is Reason.BAD_PAGE for part in found.bad)
    assert isinstance(reader.read("epub", book[: len(book) // 2]), Rejected)
    reader.close()


@pytest.mark.long
def test_a_page_of_fifty_megabytes_is_read_or_rejected_within_its_bounds() -> None:
    """He brings a web page of 50 MB."""
    reader = DocumentReader(DocumentLimits())
    found = reader.read("html", b"<html><body>" + b"<p>A paragraph of some words.</p>" * 1_600_000)
    assert isinstance(found, DocumentText) or found.reason in (
        *(Reason.TOO_MUCH_MEMORY, Reason.TOO_SLOW, Reason.TOO_LONG, Reason.UNREADABLE),
    )
    assert isinstance(reader.read("mail", made.message()), DocumentText)
    reader.close()


@pytest.mark.long
def test_a_document_of_two_thousand_pages_is_read_whole() -> None:
    """He, or anybody, brings a long report."""
    reader = DocumentReader(DocumentLimits())
    found = reader.read("pdf", made.pdf([f"Page {number} of a long report.\n" * 30 for number in range(2000)]))
    reader.close()
    assert isinstance(found, DocumentText)
    assert (len(found.pages), found.bad) == (2000, [])
