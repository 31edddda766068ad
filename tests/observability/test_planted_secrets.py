"""Five hundred of every kind of personal data and secrets, in many spellings: found wherever they stand."""

from __future__ import annotations

import json

import pytest

from mlflow_project.rules.masking import Masker
from tests.observability.planted import KINDS, planted

MASKER = Masker()
AROUND = ("{}", "Write to {} today, please.", "({})", "first: {}; then more", "<{}>", "“{}”")


@pytest.mark.parametrize("kind", KINDS)
def test_every_one_is_found_in_a_text_and_inside_json(kind: str) -> None:
    missed = []
    for number, secret in enumerate(planted(kind)):
        text = AROUND[number % len(AROUND)].format(secret)
        for written in (text, json.dumps({"a": [text]}), json.dumps(text, ensure_ascii=False)):
            masked = MASKER.mask(written)
            if not masked.found or not set(masked.found) <= set(KINDS) or leaks(secret, masked.text):
                missed.append((written, masked.text))
    assert missed == []


def leaks(secret: str, text: str) -> bool:
    """Whether a piece of it that says something stands there still; the words around a private key say nothing."""
    pieces = [piece for piece in secret.replace("\u200b", "").split() if len(piece) > 5 and "-----" not in piece]
    return any(piece in text for piece in pieces if piece != "PRIVATE")
