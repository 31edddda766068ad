"""Embeddings in OpenAI's form (`…/embeddings`) and in Gemini's (`…:batchEmbedContents`), and rerankings in the form of
Cohere and Jina (`…/rerank`).

A text's vector counts its words, each in a place that a hash of the word chooses, so texts with the same words are near
each other. A document's relevance is the share of the question's words that it holds.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

from tests.provider.behaviour import Behaviour

DIMENSIONS = 32
_PATH = re.compile(r".*(/embeddings|/rerank|:batchEmbedContents)$")


def serves(path: str) -> bool:
    """Whether the address is one of these."""
    return _PATH.fullmatch(path) is not None


def answer(behaviour: Behaviour, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body of an answer."""
    if behaviour.fault == "no_candidates":
        return {"object": "list", "data": [], "embeddings": [], "results": []}
    if path.endswith("/rerank"):
        return {"results": _ranked(body)}
    if path.endswith(":batchEmbedContents"):
        texts = [request["content"]["parts"][0]["text"] for request in body["requests"]]
        size = body["requests"][0].get("outputDimensionality", DIMENSIONS)
        return {"embeddings": [{"values": vector(text, size)} for text in texts]}
    size = body.get("dimensions", DIMENSIONS)
    rows = [
        {"object": "embedding", "index": n, "embedding": vector(text, size)} for n, text in enumerate(body["input"])
    ]
    tokens = sum(len(_words(text)) for text in body["input"])
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows[::-1], "model": body["model"], "usage": usage}


def vector(text: str, size: int) -> list[float]:
    """Counts of words, not scaled to any length."""
    numbers = [0.0] * size
    for word in _words(text) or ["nothing"]:
        numbers[zlib.crc32(word.encode()) % size] += 1.0
    return numbers


def _ranked(body: dict[str, Any]) -> list[dict[str, Any]]:
    asked = set(_words(body["query"]))
    found = [
        {"index": place, "relevance_score": len(asked & set(_words(text))) / max(1, len(asked))}
        for place, text in enumerate(body["documents"])
    ]
    return sorted(found, key=lambda row: -row["relevance_score"])[: body.get("top_n", len(found))]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
