"""Finds the language of a text by its script and, for Latin letters, by its most frequent small words.

In: any text. Out: an ISO 639-1 code, or None if the evidence is too weak. Reads the first 4,000 characters. Source: the
small-word technique of G. Grefenstette, "Comparing two language identification schemes" (JADT 1995). It needs about ten
words; a list of names has no language here.
"""

from __future__ import annotations

import re
from collections import Counter

UNKNOWN = "und"
"""ISO 639-2's code for an unknown language, used as a name where languages are counted."""

_LOOKED_AT = 4000
_LEAST_WORDS = 2
_LEAST_SHARE = 0.08

# The order matters: Japanese mixes kana with Han, so kana come first; letters of one language come before its script.
_SCRIPTS: tuple[tuple[str, re.Pattern[str], int], ...] = tuple(
    (code, re.compile(f"[{letters}]"), share)
    for code, letters, share in (
        ("ja", "\u3040-\u30ff", 10),
        ("ko", "\uac00-\ud7af", 2),
        ("zh", "\u4e00-\u9fff", 2),
        ("uk", "іїєґІЇЄҐ", 50),
        ("ru", "\u0400-\u04ff", 2),
        ("el", "\u0370-\u03ff", 2),
        ("he", "\u0590-\u05ff", 2),
        ("fa", "پچژگ", 50),
        ("ar", "\u0600-\u06ff", 2),
        ("hi", "\u0900-\u097f", 2),
        ("bn", "\u0980-\u09ff", 2),
        ("ta", "\u0b80-\u0bff", 2),
        ("th", "\u0e00-\u0e7f", 2),
        ("ka", "\u10a0-\u10ff", 2),
        ("hy", "\u0530-\u058f", 2),
    )
)
"""Language, letters, and n: the language is chosen if at least one letter in n is one of these."""

_SMALL_WORDS = {
    "en": "the of and to in is that it for was on are as with his they at be this from have or by not but what all",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er",
    "fr": "de la le et les des en un du une que est pour qui dans par plus au sur ne se pas ce il sont avec aux",
    "es": "de la que el en y a los del se las por un para con no una su al lo como más pero sus le es fue",
    "it": "di e il la che in un a per è una sono con non del si da le dei come i anche della nel ha alla più gli",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao das tem à",
    "nl": "de van een het en in is dat op te zijn met voor niet aan er om ook als dan maar bij uit door naar wordt",
    "sv": "och i att det som en på är av för med den till inte ett om har de jag var men sig från så kan",
    "da": "og i at det er en til af på for med den der som de ikke har et om var men sig jeg blev fra kan",
    "no": "og i det som er en på til av for med den at ikke har et om var men seg jeg ble fra kan etter også",
    "fi": "ja on ei että oli se hän mutta ovat kuin myös joka sen tai mukaan ole jos kun niin sekä vain",
    "pl": "i w na z do się nie jest że to o jak za od przez po dla jego był są oraz tym który ale co",
    "cs": "a v se na je že s z do o to i ve pro k jako za by ale po jsou který od tak podle byl jeho",
    "hu": "a az és hogy nem is egy volt ez meg csak de mint már még el van ki vagy lehet kell azt",
    "ro": "de și în a la cu o că pe nu din un este pentru sau care mai ca au prin fi sunt al cel fost",
    "tr": "ve bir bu da de için ile olarak çok daha olan gibi kadar sonra en ne o olduğu ancak her ise",
    "vi": "và của là có các trong cho được một người với không những đã này từ khi để năm tại như",
    "id": "yang dan di ini itu dengan untuk dari pada dalam tidak adalah akan ke juga oleh sebagai ada karena bisa",
}
_SAYS = {
    word: [code for code in _SMALL_WORDS if word in _SMALL_WORDS[code].split()]
    for line in _SMALL_WORDS.values()
    for word in line.split()
}
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str | None:
    """The most likely language, or None."""
    text = text[:_LOOKED_AT]
    words = [word.lower() for word in _WORD.findall(text)]
    letters = sum(map(len, words))
    if not text.isascii():
        for code, script, one_in in _SCRIPTS:
            if letters and len(script.findall(text)) * one_in >= letters:
                return code
    return _by_small_words(words)


def _by_small_words(words: list[str]) -> str | None:
    """Each small word votes for its languages. A tie, or too few votes, gives None."""
    votes = Counter(code for word in words for code in _SAYS.get(word, ()))
    ranked = votes.most_common(2)
    if not ranked or ranked[0][1] < max(_LEAST_WORDS, _LEAST_SHARE * len(words)):
        return None
    return None if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]
