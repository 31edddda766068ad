"""What kind of thing a question asks for, and whether a sentence holds one: a date for "when", a number for "how many".

Surface cues of English only; a question without a known cue asks for nothing in particular.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = re.compile(rf"\b(?:1\d{{3}}|20\d{{2}})s?\b|\b{_MONTH}\b|\b\d{{1,2}}(?:st|nd|rd|th)? century\b")
_WORDS = """
one two three four five six seven eight nine ten eleven twelve dozen twenty thirty hundred thousand million billion half
third quarter once twice none no
"""
_UNITS = "|".join(_WORDS.split())
_NUMBER = re.compile(rf"\d|\b(?:{_UNITS})s?\b", re.IGNORECASE)
_NAME = re.compile(r"(?<=[a-z,;:(\"“] )[\"“(]?[A-Z][\w'’-]+|^[A-Z][a-z]+ (?:[A-Z]\.? )*[A-Z][a-z]+|^(?:He|She|They)\b")
_PLACE = re.compile(
    r"\b(?:in|at|near|from|to|of|on|under|into|below|beside|inside) (?:the )?(?:[A-Z`/]|\w+ (?:folder|file|bucket))"
)
_CAUSE = re.compile(
    r"\b(?:because|since|so that|due to|therefore|thus|as a result|in order to|reason|caused?|otherwise|so)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"`[^`]+`|(?:^|\s)--?[a-z]|\b[a-z]+_[a-z_]+\b|\b[A-Z]+_[A-Z_]+\b")
_MONEY = re.compile(r"[$€£¥]\s?\d|\b(?:dollars?|euros?|pounds?|USD|cents?)\b", re.IGNORECASE)
_PERCENT = re.compile(r"%|\bper ?cent\b", re.IGNORECASE)

_CUES: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile(r"\b(?:what|which) (?:percent|percentage|share)\b"), _PERCENT),
    (re.compile(r"\bhow much (?:money|did .{0,200} (?:cost|pay|spend))|\bwhat .{0,200}\b(?:cost|price)\b"), _MONEY),
    (re.compile(r"\bhow (?:many|much|long|old|far|often|big|large|tall|high|fast|wide|deep)\b"), _NUMBER),
    (re.compile(r"\b(?:maximum|minimum|longest|shortest|largest|smallest|biggest|at (?:most|least))\b"), _NUMBER),
    (re.compile(r"\b(?:what|which) (?:number|port|size|amount|population|exit code|status)\b"), _NUMBER),
    (re.compile(r"\bwhen\b|\b(?:what|which) (?:\w+ )?(?:year|date|day|month|century|decade)\b"), _DATE),
    (re.compile(r"\bwho(?:m|se)?\b|\bwhat (?:is|was) the (?:last |first |full )?name\b"), _NAME),
    (re.compile(r"\bwhere\b|\b(?:what|which) (?:city|country|state|region|place|folder|file|bucket)\b"), _PLACE),
    (re.compile(r"\bwhy\b|\bwhat (?:caused|is the reason|was the reason)\b"), _CAUSE),
    (
        re.compile(r"\b(?:what|which) (?:command|option|setting|variable|header|flag|target)\b|\bhow (?:do|can|does) "),
        _CODE,
    ),
)


_DEFINITION = re.compile(
    r"what (?:is|are) (?:an? |the )?([\w' -]{2,40}?)\s*\?*\s*|what does (?:an? |the )?([\w' -]{2,40}) mean\b.*"
)


def wanted(question: str) -> Callable[[str], bool] | None:
    """A test for sentences that could answer this question; None when it asks for nothing in particular."""
    asked = question.lower().strip()
    for cue, holds in _CUES:
        if cue.search(asked):
            return lambda sentence: holds.search(sentence) is not None
    if match := _DEFINITION.fullmatch(asked):
        defined = re.compile(rf"\b{re.escape(match[1] or match[2])}\W* (?:is|are|means?|says?)\b")
        return lambda sentence: defined.search(sentence.lower()) is not None
    return None
