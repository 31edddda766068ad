"""Makes small documents in the formats that people have, with the libraries that read them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from io import BytesIO

import docx
import pptx
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

PAGE = """<!doctype html><html><head><title>Refunds - Acme</title></head><body>
<div class="cookie-banner">We use cookies. <button>Accept all</button></div>
<header><a href="/">Acme</a><nav><ul><li>menu</li><li><a href="/p">Pricing</a></li></ul></nav></header>
<main><h1>Refunds</h1><p>You may return goods within <b>30 days</b> of the day on which they arrived.</p>
<h2>How to</h2><p>Write to the support desk, with the number of the order and your address.</p>
<table><tr><th>Country</th><th>Days</th></tr><tr><td>Germany</td><td>14</td></tr></table></main>
<footer>Copyright 2026 Acme Inc.</footer></body></html>"""
BROKEN = b"broken"
PICTURE = b"picture"


def pdf(pages: Sequence[str | bytes], password: str | None = None, title: str = "") -> bytes:
    """A PDF with one line of text for each line of a page. `BROKEN` is a page whose content cannot be unpacked, and
    `PICTURE` a page with a picture and no text."""
    writer = PdfWriter()
    for content in pages:
        page = writer.add_blank_page(width=600, height=800)
        stream = DecodedStreamObject()
        font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica", "/Encoding": "/WinAnsiEncoding"}
        named = DictionaryObject({NameObject(key): NameObject(value) for key, value in font.items()})
        resources = {NameObject("/Font"): DictionaryObject({NameObject("/F1"): named})}
        if content == BROKEN:
            stream.set_data(b"no zlib data")
            stream[NameObject("/Filter")] = NameObject("/NoSuchFilter")
        elif content == PICTURE:
            picture = DecodedStreamObject()
            picture.set_data(b"\0")
            picture[NameObject("/Subtype")] = NameObject("/Image")
            objects = DictionaryObject({NameObject("/Im1"): writer._add_object(picture)})
            resources[NameObject("/XObject")] = objects
            stream.set_data(b"/Im1 Do")
        else:
            lines = str(content).replace("(", r"\(").replace(")", r"\)").split("\n")
            shown = "".join(f"({line}) Tj 0 -14 Td " for line in lines)
            stream.set_data(f"BT /F1 12 Tf 50 750 Td {shown}ET".encode("cp1252"))
        page[NameObject("/Resources")] = DictionaryObject(resources)
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, algorithm="AES-256")
    return _saved(writer.write)


def word_file() -> bytes:
    """A Word file with headings, a list and a table."""
    document = docx.Document()
    document.core_properties.title = "Handbook"
    document.add_heading("Leave", 1)
    document.add_paragraph("Each employee has 28 days of leave a year.")
    document.add_paragraph("Ask early", style="List Bullet")
    document.add_paragraph("Ask in writing", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for row, texts in zip(table.rows, [("Year", "Days"), ("2026", "28")], strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    return _saved(document.save)


def presentation() -> bytes:
    """Two slides; the second one has notes."""
    slides = pptx.Presentation()
    for title, text in (("Plan", "Ship in May"), ("Budget", "Two million")):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
    slide.notes_slide.notes_text_frame.text = "The board agreed."
    return _saved(slides.save)


def book() -> bytes:
    """An EPUB with two chapters, in the order of the spine, and a table of contents, which is no chapter."""
    package = """<package xmlns="http://www.idpf.org/2007/opf"><metadata><dc:title
xmlns:dc="http://purl.org/dc/elements/1.1/">The Lighthouse</dc:title></metadata><manifest>
<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="one%20.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/></spine></package>"""
    container = '<container><rootfiles><rootfile full-path="OPS/p.opf"/></rootfiles></container>'
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OPS/p.opf", package)
        archive.writestr("OPS/nav.xhtml", "<html><body><nav>Contents</nav></body></html>")
        archive.writestr("OPS/one .xhtml", "<html><body><h1>Dawn</h1><p>The lamp went out.</p></body></html>")
        archive.writestr("OPS/two.xhtml", "<html><body><h1>Noon</h1><p>Nobody came.</p></body></html>")
    return whole.getvalue()


def message() -> bytes:
    """An e-mail in plain text and HTML, with an attachment."""
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Invoice für May", "anna@example.com", "bo@example.com"
    mail.set_content("The invoice over 40 € is due on Friday.\n")
    mail.add_alternative("<p>The invoice is <b>due</b>.</p>", subtype="html")
    mail.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="invoice.pdf")
    return mail.as_bytes()


def _saved(save: object) -> bytes:
    whole = BytesIO()
    save(whole)  # type: ignore[operator]
    return whole.getvalue()
