"""PDF, Word, PowerPoint, EPUB, e-mail and HTML become texts; what is wrong with them is said."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from io import BytesIO

import pytest

from mlflow_project.rules.chunking.records import Fields, Reason, Rejected
from mlflow_project.rules.documents.kinds import Kind, kind_of
from mlflow_project.rules.documents.pdf import reflowed
from mlflow_project.rules.documents.reading import DocumentText, read_document
from spark_jobs.examination import Examiner
from stack.layout import ROOT
from tests.spark import made_documents as made


def text_of(kind: Kind, data: bytes) -> DocumentText:
    found = read_document(kind, data)
    assert isinstance(found, DocumentText), found
    return found


def rejection_of(kind: Kind, data: bytes) -> Rejected:
    found = read_document(kind, data)
    assert isinstance(found, Rejected), found
    return found


def test_a_pdf_says_where_each_page_is_and_leaves_bad_pages_out() -> None:
    pages = ["First page.", made.BROKEN, made.PICTURE, "", "Last page (five)."]
    found = text_of("pdf", made.pdf(pages, title="Report"))
    assert (found.title, found.text) == ("Report", "First page.\n\nLast page (five).")
    assert [(page.number, found.text[page.start : page.end]) for page in found.pages] == [
        (1, "First page."),
        (5, "Last page (five)."),
    ]
    assert [(part.number, part.reason) for part in found.bad] == [(2, Reason.BAD_PAGE), (3, Reason.PAGE_WITHOUT_TEXT)]
    assert found.bad[1].sentence.startswith("Page 3 holds a picture and no text")


def test_lines_that_the_edge_of_a_page_broke_are_joined() -> None:
    text = (
        "The refund is paid within thirty days after the return-\ned goods have reached us, if they are in\ngood order."
    )
    assert reflowed(text + "\nA new line.\n- an item") == (
        "The refund is paid within thirty days after the returned goods have reached us, if they are in good order."
        "\nA new line.\n- an item"
    )


def test_a_pdf_with_a_password_is_rejected_and_one_that_only_restricts_printing_is_read() -> None:
    assert rejection_of("pdf", made.pdf(["Secret."], password="s3cret")).reason is Reason.ENCRYPTED
    assert text_of("pdf", made.pdf(["Open."], password="")).text == "Open."


def test_a_scan_says_that_it_needs_ocr() -> None:
    found = rejection_of("pdf", made.pdf([made.PICTURE, made.PICTURE]))
    assert found.reason is Reason.EMPTY_TEXT
    assert "OCR" in found.sentence
    assert "Pages with a picture: 2." in found.sentence


def test_a_word_file_keeps_headings_lists_and_tables() -> None:
    found = text_of("docx", made.word_file())
    assert (found.title, found.pages) == ("Handbook", [])
    assert found.text == (
        "# Leave\n\nEach employee has 28 days of leave a year.\n\n- Ask early\n- Ask in writing\n\n"
        "| Year | Days |\n|---|---|\n| 2026 | 28 |"
    )


def test_a_presentation_has_its_slides_as_pages_and_their_notes() -> None:
    found = text_of("pptx", made.presentation())
    assert found.text == "# Plan\n\nShip in May\n\n# Budget\n\nTwo million\n\nThe board agreed."
    assert [page.number for page in found.pages] == [1, 2]


def test_a_book_is_read_in_the_order_of_its_spine_without_its_table_of_contents() -> None:
    found = text_of("epub", made.book())
    assert (found.title, found.text) == ("The Lighthouse", "# Dawn\n\nThe lamp went out.\n\n# Noon\n\nNobody came.")


def test_an_e_mail_is_its_text_and_the_rest_is_metadata() -> None:
    found = text_of("mail", made.message())
    assert (found.title, found.text) == ("Invoice für May", "The invoice over 40 € is due on Friday.")
    assert found.metadata == {"from": "anna@example.com", "to": "bo@example.com", "attachments": ["invoice.pdf"]}


def test_a_page_is_read_without_navigation_banners_and_footers() -> None:
    found = text_of("html", made.PAGE.encode())
    assert found.title == "Refunds - Acme"
    for boilerplate in ("menu", "Pricing", "cookies", "Accept", "Copyright"):
        assert boilerplate not in found.text
    assert "# Refunds" in found.text
    assert "within 30 days of" in found.text
    assert "Germany | 14" in found.text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<nav>menu</nav><p>A page.</p>", "A page."),
        ("<div role='navigation'>menu</div><h1>Head</h1>", "# Head"),
        ("<article><header><h1>Kept</h1></header><p>Text.</p><footer>Notes.</footer></article>", "Text."),
        ("<nav>Nothing but a menu</nav>", "Nothing but a menu"),
        ("<meta charset='windows-1252'><p>Caf\xe9</p>", "Caf\xe9"),
    ],
)
def test_a_small_page_loses_nothing_but_its_landmarks(page: str, text: str) -> None:
    assert text in text_of("html", page.encode("cp1252")).text
    assert "<" not in text_of("html", page.encode("cp1252")).text
    assert text == "Nothing but a menu" or "menu" not in text_of("html", page.encode("cp1252")).text


@pytest.mark.parametrize("kind", ["pdf", "docx", "pptx", "epub"])
@pytest.mark.parametrize("data", [b"%PDF-1.7\n%%EOF\n", b"PK\x03\x04 cut off", b"", b"\0" * 100])
def test_a_broken_file_is_unreadable_and_says_so(kind: Kind, data: bytes) -> None:
    assert rejection_of(kind, data).reason in (Reason.UNREADABLE, Reason.EMPTY_TEXT)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked() -> None:
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("word/document.xml", b"\0")
        archive.infolist()[0].file_size = 1 << 30
    for kind in ("docx", "pptx", "epub"):
        assert rejection_of(kind, whole.getvalue()).reason is Reason.TOO_MUCH_MEMORY


def test_the_first_bytes_say_what_a_file_is_and_the_name_where_they_cannot() -> None:
    assert kind_of(made.pdf(["A."]), "report.txt") == "pdf"
    assert kind_of(made.word_file(), "a.docx") == kind_of(made.word_file(), "a.bin") == "docx"
    assert kind_of(made.presentation(), "a.zip") == "pptx"
    assert kind_of(made.book(), "a.EPUB") == "epub"
    assert (kind_of(b"<p>A", "a.HTM"), kind_of(b"From: a", "a.eml")) == ("html", "mail")
    assert kind_of(b"PK\x03\x04 other", "a.docx") is kind_of(b"text", "a.txt") is None


def test_a_worker_loads_only_the_libraries_of_the_formats_that_it_reads() -> None:
    """The Spark worker loads none of them, and its child only those of the kind that it was given."""
    libraries = "{'pypdf', 'docx', 'pptx', 'trafilatura', 'lxml'} & set(sys.modules)"
    for setting, loaded in (
        ("import spark_jobs.staging", []),
        ("import spark_jobs.document_child", []),
        ("from mlflow_project.rules.documents.reading import read_document; read_document('pdf', b'')", ["pypdf"]),
    ):
        program = f"import sys; {setting}; print(*{libraries})"
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
        assert found.stdout.split() == loaded


@pytest.mark.parametrize("ending", ["html", "eml"])
@pytest.mark.parametrize("data", [rb"{\rtf1 A text.}", "A text.".encode("utf-16"), bytes(range(1, 32)) * 4, b"\x89PNG"])
def test_what_only_the_name_calls_a_page_or_a_message_is_not_text(ending: str, data: bytes) -> None:
    ((_, raw, found),) = Examiner(Fields(), True, "file:/b").examine(((f"file:/b/a.{ending}", 0, 0), data))
    assert isinstance(found, Rejected)
    assert (found.reason, raw) == (Reason.NOT_TEXT, data)
