"""Rows that are documents, and rows that are not, each with its reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.rules.chunking.files import read_file
from mlflow_project.rules.chunking.html_page import visible_text
from mlflow_project.rules.chunking.records import Document, Fields, Reason, Rejected, read_line

MALFORMED: list[tuple[bytes, Reason]] = [
    (b"", Reason.BLANK_LINE),
    (b"   \r", Reason.BLANK_LINE),
    (b'{"id": "a", "text": "b', Reason.NOT_JSON),
    (b'{"id": "a", "text": NaN}', Reason.NOT_JSON),
    (b"{'id': 'a'}", Reason.NOT_JSON),
    (b"[" * 100_000, Reason.NOT_JSON),
    (b'{"id": "a", "text": "\xff\xfe"}', Reason.NOT_UTF8),
    (b'{"id": "a", "text": "\xed\xa0\x80"}', Reason.NOT_UTF8),
    ('{"id": "a", "text": "b"}'.encode("utf-16"), Reason.NOT_UTF8),
    (b'{"id": "a", "text": "b"} {"id": "c", "text": "d"}', Reason.SEVERAL_DOCUMENTS),
    (b'{"id": "a", "text": "\\ud800"}', Reason.LONE_SURROGATE),
    (b'["a", "b"]', Reason.NOT_AN_OBJECT),
    (b'"text"', Reason.NOT_AN_OBJECT),
    (b"null", Reason.NOT_AN_OBJECT),
    (b'{"text": "b"}', Reason.MISSING_ID),
    (b'{"id": null, "text": "b"}', Reason.MISSING_ID),
    (b'{"id": 7, "text": "b"}', Reason.ID_NOT_TEXT),
    (b'{"id": true, "text": "b"}', Reason.ID_NOT_TEXT),
    (b'{"id": " ", "text": "b"}', Reason.ID_NOT_USABLE),
    (b'{"id": "a\\u0000", "text": "b"}', Reason.ID_NOT_USABLE),
    (b'{"id": "a"}', Reason.MISSING_TEXT),
    (b'{"id": "a", "text": {"b": 1}}', Reason.TEXT_NOT_TEXT),
    (b'{"id": "a", "text": [["b"]]}', Reason.TEXT_NOT_TEXT),
    (b'{"id": "a", "text": ""}', Reason.EMPTY_TEXT),
    (b'{"id": "a", "text": "\\u3000\\n"}', Reason.EMPTY_TEXT),
    (b'{"id": "a", "text": "b\\u0000c"}', Reason.NUL_CHARACTER),
    (b'{"id": "a", "text": "b", "title": 5}', Reason.TITLE_NOT_TEXT),
    (b'{"id": "a", "messages": "b"}', Reason.MESSAGES_NOT_VALID),
    (b'{"id": "a", "messages": [{"role": "user"}]}', Reason.MESSAGES_NOT_VALID),
]


@pytest.mark.parametrize(("line", "reason"), MALFORMED, ids=lambda value: str(value)[:40])
def test_a_malformed_row_says_why(line: bytes, reason: Reason) -> None:
    found = read_line(line, Fields())
    assert isinstance(found, Rejected)
    assert found.reason is reason
    assert found.sentence.endswith(".")


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: json.dumps({"id": "a", "text": text}).encode()))
def test_any_row_is_a_document_or_a_rejection(line: bytes) -> None:
    assert isinstance(read_line(line, Fields()), Document | Rejected)


def test_a_byte_order_mark_and_a_carriage_return_are_no_content() -> None:
    plain = read_line(b'{"id": "a", "text": "b"}', Fields())
    assert read_line(b'\xef\xbb\xbf{"id": "a", "text": "b"}\r', Fields()) == plain


def test_other_fields_become_metadata_and_count_as_content() -> None:
    one = read_line(b'{"id": "a", "text": "b", "year": 1999, "tag": "x"}', Fields())
    other = read_line(b'{"id": "a", "text": "b", "year": 2000, "tag": "x"}', Fields())
    assert isinstance(one, Document)
    assert isinstance(other, Document)
    assert one.metadata == '{"tag":"x","year":1999}'
    assert one.document_hash != other.document_hash


def test_a_conversation_keeps_the_place_and_role_of_each_turn() -> None:
    line = b'{"id": "a", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}'
    found = read_line(line, Fields())
    assert isinstance(found, Document)
    assert [found.text[start:end] for start, end in found.blocks] == ["user: Hi", "assistant: Hello"]
    assert [turn["role"] for turn in json.loads(found.metadata)["turns"]] == ["user", "assistant"]


def test_html_becomes_the_text_that_a_reader_sees() -> None:
    head = b"<html><head><title>T</title><style>x</style></head>"
    page = head + b"<body><h2>Head</h2><p>One <b>two</b></p><script>no</script>"
    assert visible_text(page) == ("## Head\n\nOne two", "T")


PAGES = {
    "<head><title>A\nB</title><body><p>A head that is never closed hides nothing": (
        "A head that is never closed hides nothing",
        "A B",
    ),
    "<table><tr><td>one</td><td>two</td></tr><tr><th>three</table>": ("one two\n\nthree", ""),
    "<p>a<br>b</p><pre>if x:\n\n    y\n</pre>": ("a\nb\n\n```\nif x:\n\n    y\n```", ""),
    "one <![1] two>three &amp; <b>four</b><!-- five --><script>six</script>": ("one three & four", ""),
    "<svg><title>Icon</title></svg><h1>Head</h1>": ("# Head", "Icon"),
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_read_as_a_browser_does(page: str) -> None:
    assert visible_text(page.encode()) == PAGES[page]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("almost", ["<a ", "<!--", "<", "<![CDATA[", '<a b="', "<div>", "# "])
def test_a_long_file_of_what_almost_means_something_costs_no_more_than_its_length(almost: str) -> None:
    text = (almost * 300_000 + "x").encode()
    visible_text(text, without_landmarks=True)
    read_file(text, "file:/base/f.md", "file:/base")


def test_a_markdown_file_is_named_by_its_path_and_titled_by_its_heading() -> None:
    found = read_file("# Über\n\nText".encode(), "s3a://bucket/docs/x.md", "s3a://bucket/docs")
    assert isinstance(found, Document)
    assert (found.document_id, found.title) == ("x.md", "Über")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY_FILE),
        (b"%PDF-1.7\n1 0 obj\n%%EOF\n", Reason.NOT_TEXT),
        (b"PK\x03\x04 a zip that happens to be valid UTF-8", Reason.NOT_TEXT),
        (b"{\\rtf1 A text.}", Reason.NOT_TEXT),
        ("Text in UTF-16.".encode("utf-16"), Reason.NOT_TEXT),
        (bytes(range(1, 32)) * 4, Reason.NOT_TEXT),
        (b"caf\xe9", Reason.NOT_UTF8),
        (b"a\0b", Reason.NUL_CHARACTER),
        (b" \n\t", Reason.EMPTY_TEXT),
    ],
)
def test_a_file_that_holds_no_text_is_rejected_with_its_reason(data: bytes, reason: Reason) -> None:
    for ending in ("txt", "md"):
        found = read_file(data, f"file:/base/f.{ending}", "file:/base")
        assert isinstance(found, Rejected)
        assert found.reason is reason


def test_a_text_may_hold_a_few_control_characters() -> None:
    assert isinstance(read_file(b"A page.\f" * 30 + b"\x1b[1mbold\x1b[0m \x07", "file:/b/f.txt", "file:/b"), Document)
