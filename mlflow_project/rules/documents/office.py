"""Reads Word and PowerPoint files as Markdown. Needs python-docx and python-pptx.

A Word file has no pages before it is printed, so it is one part; headings, lists and tables stay what they are. Each
slide of a presentation is a part, and citations name it; the speaker's notes follow its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import Any

from mlflow_project.rules.documents.archives import open_archive
from mlflow_project.rules.documents.opened import Opened

_HEADING = re.compile(r"heading ([1-9])$", re.IGNORECASE)
_MOST_LEVELS = 6


def open_docx(data: bytes) -> Opened:
    """Open a Word file."""
    import docx

    open_archive(data).close()
    document = docx.Document(BytesIO(data))
    return Opened((document.core_properties.title or "").strip(), [partial(_word_text, document)])


def open_pptx(data: bytes) -> Opened:
    """Open a PowerPoint file."""
    import pptx

    open_archive(data).close()
    presentation = pptx.Presentation(BytesIO(data))
    slides = [partial(_slide_text, slide) for slide in presentation.slides]
    return Opened((presentation.core_properties.title or "").strip(), slides, "slide", cites_parts=True)


def table_text(rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown; its first row is the head."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells if any(row)]
    if not lines:
        return ""
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def _word_text(document: Any) -> str:
    from docx.table import Table

    blocks: list[str] = []
    in_list = False
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            text, is_item = table_text(_distinct_cells(row) for row in block.rows), False
        else:
            text, is_item = _paragraph(block)
        if not text:
            continue
        if is_item and in_list:
            blocks[-1] += f"\n{text}"
        else:
            blocks.append(text)
        in_list = is_item
    return "\n\n".join(blocks)


def _paragraph(paragraph: Any) -> tuple[str, bool]:
    """The text of a paragraph, and whether it is an item of a list."""
    text, style = paragraph.text.strip(), paragraph.style.name if paragraph.style is not None else ""
    if not text:
        return "", False
    heading = _HEADING.match(style)
    if heading or style == "Title":
        level = min(int(heading[1]), _MOST_LEVELS) if heading else 1
        return f"{'#' * level} {' '.join(text.split())}", False
    return (f"- {text}", True) if style.startswith("List") else (text, False)


def _distinct_cells(row: Any) -> list[str]:
    """The texts of a row's cells, a merged cell once."""
    cells = {id(cell._tc): cell.text for cell in row.cells}
    return list(cells.values())


def _slide_text(slide: Any) -> str:
    title = slide.shapes.title
    blocks = [f"# {' '.join(title.text_frame.text.split())}"] if title is not None and title.has_text_frame else []
    title_id = title.shape_id if title is not None else None
    blocks += [text for shape in slide.shapes if shape.shape_id != title_id for text in _shape_texts(shape)]
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        blocks.append(slide.notes_slide.notes_text_frame.text.strip())
    return "\n\n".join(block for block in blocks if block.strip("# "))


def _shape_texts(shape: Any) -> Iterator[str]:
    from pptx.enum.shapes import MSO_SHAPE_TYPE

    if shape.shape_type == MSO_SHAPE_TYPE.GROUP:
        for each in shape.shapes:
            yield from _shape_texts(each)
    elif getattr(shape, "has_table", False):
        yield table_text([cell.text for cell in row.cells] for row in shape.table.rows)
    elif shape.has_text_frame:
        yield "\n".join(text for each in shape.text_frame.paragraphs if (text := each.text.strip()))
