"""Personal data and secrets replaced by their kind, in everything that is logged, traced or recorded.

In: a complete text (never a part of one: a number cut in two is no number). Out: the text with `[email]`, `[card]`, …
in place of what was found, and how many of each. Other spellings (escapes of JSON, URLs and HTML, full-width letters,
invisible characters) are read as what they mean; a text that holds nothing comes back as it was.
Numbers with check digits are masked only where these hold. What is searched for: `rules.secret_patterns`.
Fail-closed: `mask` either returns a masked text or raises; `record_safe` gives None instead, and None is not recorded.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import unquote

from mlflow_project.rules.secret_patterns import NEAR_DIGITS, PATTERNS, Pattern

_DIGIT = re.compile(r"\d")
_NEAR_DIGITS = re.compile(rf"\d(?:[\W_]{{0,3}}\d){{{NEAR_DIGITS - 1}}}")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff\u00ad"))
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-")
_PLAIN = {**_INVISIBLE, **_DASHES, ord("\u3002"): "."}
_ODD = re.compile(f"[{''.join(map(chr, _PLAIN))}]")
_ESCAPE = re.compile(
    r"(?<!\\)\\+(?:u([dD][89abAB][0-9a-fA-F]{2})\\+u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?:u(?![dD][89a-fA-F])([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))|([nrt\"'/]))"
)
_PERCENT = re.compile(r"%(?:25)*(?=[0-9a-fA-F]{2})")
_ENTITY = re.compile(r"&(?:amp;)*(?=#?\w{1,31};)")
_ENTITIES = re.compile(r"&#?\w{1,31};")
_BETWEEN_WORDS = re.compile(r"[\W_]")
_ROUNDS = 4
"""Spellings inside each other are read so many times at most: nobody may have a text read as often as it is long."""


@dataclass(frozen=True)
class Masked:
    """A text without what was found in it; `found` counts by kind."""

    text: str
    found: Mapping[str, int] = field(default_factory=dict)


class Masker:
    """The built-in patterns and a site's own (kind -> regular expression)."""

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        every = (*(Pattern(kind, re.compile(regex)) for kind, regex in (own or {}).items()), *PATTERNS)
        self._patterns = {
            digits: tuple(pattern for pattern in every if pattern.digits <= digits) for digits in (0, 1, NEAR_DIGITS)
        }
        self._hints = _by_sign([pattern.hints or ("",) for pattern in self._patterns[0]])

    def mask(self, text: str) -> Masked:
        """Replace all that is found."""
        plain = plain_spelling(text)
        lower = plain.lower()
        digits = _digits_near_each_other(plain)
        if digits == 0 and not _any_stands_in(self._hints, lower):
            return Masked(text)  # as most: not one pattern is worth a look
        found: Counter[str] = Counter()
        for pattern in self._patterns[digits]:
            if pattern.may_stand_in(lower):
                plain = pattern.regex.sub(partial(_replaced, pattern, found), plain)
        return Masked(plain, dict(found)) if found else Masked(text)

    def mask_data(self, value: Any) -> Any:
        """JSON-ready data with every string in it masked, keys included."""
        if isinstance(value, str):
            return self.mask(value).text
        if isinstance(value, Mapping):
            return {self.mask_data(key): self.mask_data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mask_data(item) for item in value]
        return value

    def record_safe(self, text: str | None, limit: int) -> Masked | None:
        """The text masked and cut to `limit` characters; None when there is none, or when masking broke."""
        if text is None:
            return None
        try:
            masked = self.mask(text)
            return masked if len(masked.text) <= limit else replace(masked, text=masked.text[:limit])
        except Exception:  # fail-closed: whatever broke, what cannot be masked is not recorded
            return None


def plain_spelling(text: str) -> str:
    """The text with escapes of JSON, URLs and HTML as what they stand for, and compatible characters (Unicode's NFKC)
    as the common one: a letter of an escape would else pass for the beginning of a number's word."""
    for _ in range(_ROUNDS):
        before = text
        if "\\" in text:
            text = _ESCAPE.sub(_meant, text)
        if "%" in text:
            text = unquote(_PERCENT.sub("%", text))
        if "&" in text:
            text = _ENTITIES.sub(lambda entity: html.unescape(entity.group()), _ENTITY.sub("&", text))
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
            text = text.translate(_PLAIN) if _ODD.search(text) else text
        if text == before:
            break
    return text


def _by_sign(hints: Iterable[Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    """All hints by the first sign in each that is no letter or digit: where that is missing, none of them stands."""
    found: dict[str, set[str]] = {}
    for hint in chain.from_iterable(hints):
        sign = next((letter for letter in hint if not letter.isalnum()), "")
        found.setdefault(sign, set()).add(hint)
    return {sign: tuple(sorted(some)) for sign, some in found.items()}


def _any_stands_in(hints: Mapping[str, tuple[str, ...]], lower: str) -> bool:
    for sign, some in hints.items():
        if sign in lower:
            for hint in some:
                if hint in lower:
                    return True
    return False


def _meant(escape: re.Match[str]) -> str:
    """A line break or tab is a space here."""
    high, low, letter, byte, short = escape.groups()
    if high:
        return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00)
    return chr(int(letter or byte, 16)) if letter or byte else short if short in "\"'/" else " "


def _digits_near_each_other(text: str) -> int:
    """0, 1 or `NEAR_DIGITS`: as many as the patterns ask for."""
    if not _DIGIT.search(text):
        return 0
    return NEAR_DIGITS if _NEAR_DIGITS.search(text) else 1


def _replaced(pattern: Pattern, found: Counter[str], match: re.Match[str]) -> str:
    text = match.group()
    for end in _ends(text) if pattern.holds else [len(text)]:
        if pattern.holds is None or pattern.holds(text[:end]):
            found[pattern.kind] += 1
            return f"[{pattern.kind}]{text[end:]}"
    return text


def _ends(text: str) -> list[int]:
    """The whole, and what stands before each separator from the right."""
    return [len(text), *(match.start() for match in reversed(list(_BETWEEN_WORDS.finditer(text))))]
