"""Documents become rows of the chunk table: what a chunk of a conversation says about its turns."""

from __future__ import annotations

import json
import time

from mlflow_project.rules.chunking.records import Document, Fields, read_line
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs.cutting import Cutter


def conversation(turns: int) -> Document:
    messages = [{"role": ("user", "assistant")[n % 2], "content": f"Turn {n}. " * 10} for n in range(turns)]
    found = read_line(json.dumps({"id": "t", "messages": messages, "shop": "north"}).encode(), Fields())
    assert isinstance(found, Document)
    return found


def test_a_chunk_of_a_conversation_names_the_turns_it_holds_and_keeps_other_metadata() -> None:
    talk = conversation(30)
    found = Cutter(Splitter()).chunks(talk)
    for chunk in found:
        told = json.loads(chunk.metadata or "")
        held = [n for n, (start, end) in enumerate(talk.blocks, 1) if start < chunk.end and chunk.start < end]
        assert told["turns"] == held
        assert told["roles"] == list(dict.fromkeys(("assistant", "user")[n % 2] for n in held))
        assert told["shop"] == "north"


def test_a_long_conversation_takes_time_in_proportion_to_its_length() -> None:
    talk = conversation(20_000)
    started = time.process_time()
    found = Cutter(Splitter()).chunks(talk)
    assert len(found) > 2_000
    assert time.process_time() - started < 10


def test_a_document_that_has_a_field_called_turns_is_no_conversation() -> None:
    line = json.dumps({"id": "a", "text": "One. " * 300, "turns": 3}).encode()
    text = read_line(line, Fields())
    assert isinstance(text, Document)
    assert all(chunk.metadata is None for chunk in Cutter(Splitter()).chunks(text))
