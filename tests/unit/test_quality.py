"""Languages and near duplicates."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mlflow_project.rules.chunking.records import Document, Reason, Rejected, document
from mlflow_project.rules.quality.heuristics import flaw
from mlflow_project.rules.quality.languages import language_of
from mlflow_project.rules.quality.minhash import SHINGLE, signature
from mlflow_project.rules.quality.selection import Quality, judge

SENTENCES = {
    "en": "The cat is on the mat, and it was there for all of the night.",
    "de": "Der Hund ist nicht in dem Haus, und die Katze ist auch nicht da.",
    "fr": "Le chat est dans la maison et il ne sort pas avec les chiens.",
    "es": "El perro no está en la casa porque fue a la calle con su amo.",
    "pt": "O cão não está em casa porque foi com o dono para a rua.",
    "ja": "これはペンです。漢字もあります。",
    "zh": "这是一个测试。",
    "ru": "Это русский текст.",
    "uk": "Це український текст, і він їм є.",
    "ar": "هذا نص عربي",
    "hi": "यह हिन्दी है।",
}


@pytest.mark.parametrize(("code", "text"), SENTENCES.items())
def test_a_sentence_is_known_by_its_script_or_its_small_words(code: str, text: str) -> None:
    assert language_of(text) == code


@pytest.mark.parametrize("text", ["", "Alice Bob Carol", "0xdeadbeef 42", "!!!"])
def test_what_says_too_little_has_no_language(text: str) -> None:
    assert language_of(text) is None


def test_a_signature_estimates_the_similarity_of_two_texts() -> None:
    chance = random.Random(1)
    words = [f"w{number}" for number in range(3000)]
    for kept in (0.99, 0.95, 0.8):
        one = [chance.choice(words) for _ in range(400)]
        other = [word if chance.random() < kept else chance.choice(words) for word in one]
        sets = [{" ".join(text[at : at + SHINGLE]) for at in range(len(text) - SHINGLE + 1)} for text in (one, other)]
        truth = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        first, second = signature(" ".join(one)), signature(" ".join(other))
        assert first is not None
        assert second is not None
        assert float(np.mean(first == second)) == pytest.approx(truth, abs=0.15)


def test_a_text_without_words_has_no_signature() -> None:
    assert signature(" .,! ") is None


PROSE = "The alias moves and the traffic moves with it, as all who have read this page know. " * 4
FLAWED = {
    Reason.FILLER_TEXT: PROSE + "Lorem ipsum dolor sit amet.",
    Reason.MOSTLY_BULLETS: "\n".join(f"- point {number}" for number in range(60)),
    Reason.MOSTLY_CUT_OFF: "\n".join(f"line {number} of it goes on ..." for number in range(60)),
    Reason.REPEATED_LINES: "the same line\n" * 60 + "another line",
    Reason.WORD_COUNT: "To be short.",
    Reason.WORD_LENGTH: "a b c d e " * 20,
    Reason.MANY_SYMBOLS: " ".join(f"word{number} # and" for number in range(40)),
    Reason.FEW_LETTERS: " ".join(f"1234{number}" for number in range(90)),
    Reason.FEW_STOP_WORDS: " ".join(f"alpha beta gamma{number}" for number in range(40)),
}


@pytest.mark.parametrize(("reason", "text"), FLAWED.items())
def test_what_is_no_prose_fails_a_published_filter(reason: Reason, text: str) -> None:
    found = flaw(text, "en")
    assert found is not None
    assert found.reason is reason
    assert found.sentence.endswith(".")


def test_prose_passes_all_filters() -> None:
    assert flaw(PROSE, "en") is None


def test_a_language_is_named_kept_or_dropped_and_without_options_nothing_happens() -> None:
    plain = document("d", "", SENTENCES["de"])
    assert judge(plain, Quality()) is plain
    named = judge(plain, Quality(detect=True))
    assert isinstance(named, Document)
    assert (named.language, named.document_hash != plain.document_hash) == ("de", True)
    assert judge(plain, Quality(languages=("de",))) == plain
    dropped = judge(plain, Quality(languages=("en", "fr")))
    assert isinstance(dropped, Rejected)
    assert dropped.reason is Reason.LANGUAGE_NOT_WANTED
