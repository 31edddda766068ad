"""Replaces personal data and secrets by their kind in every text that is logged, traced or recorded.

In: a complete text, because half a card number has no check digit and is not recognised. Out: the text with
`[email]`, `[card]`, … in place of each finding, and the number of findings of each kind. Other spellings (escapes of
JSON, URLs and HTML, full-width letters, invisible characters) are read as what they mean. A text without findings comes
back unchanged. Numbers with check digits are masked only if the check digits are right. The patterns are in
`rules.secret_patterns`.

Callers choose these texts, so the time is bounded. Every built-in pattern takes time in proportion to the length of the
text. A site's own patterns (`SWITCHYARD_MASK_PATTERNS`) each get `OWN_PATTERN_SECONDS`, and let other threads run
meanwhile. A text that is longer than the masker's limit, or that a site's pattern cannot finish in time, is withheld: a
short note takes its place. `mask` returns a masked text or raises; `record_safe` returns None instead of raising.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import unquote

import regex

from mlflow_project.errors import ConfigError
from mlflow_project.rules.secret_patterns import NEAR_DIGITS, PATTERNS, Pattern

LONGEST = 200_000
"""The most characters of a text, unless a masker is told otherwise: as many as the server takes of a question."""
OWN_PATTERN_SECONDS = 0.05
"""The processor time that one pattern of a site may take for one text."""
WITHHELD = "withheld"
"""The kind under which a withheld text is counted."""
_MARGIN = 4_096
"""`record_safe` reads so many characters more than it returns, so that a finding is never cut in two."""

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
_ROUNDS = 4
"""How often escapes inside escapes are resolved. Without this bound a text could be read once per character."""


@dataclass(frozen=True)
class Masked:
    """A text without its personal data and secrets. `found` counts the findings by kind."""

    text: str
    found: Mapping[str, int] = field(default_factory=dict)

    @property
    def withheld(self) -> bool:
        """Whether the text could not be masked in time, so that only a note stands in its place."""
        return WITHHELD in self.found


class Masker:
    """Masks by the built-in patterns and by a site's own (kind -> regular expression).

    Texts of more than `longest` characters are withheld. A job that nobody waits for may raise that limit.

    Raises:
        ConfigError: one of the site's patterns is no regular expression, or matches the empty text.
    """

    def __init__(self, own: Mapping[str, str] | None = None, longest: int = LONGEST) -> None:
        self._longest = longest
        self._own = {kind: _compiled(kind, pattern) for kind, pattern in (own or {}).items()}
        self._patterns = {
            digits: tuple(pattern for pattern in PATTERNS if pattern.digits <= digits) for digits in (0, 1, NEAR_DIGITS)
        }
        self._hints = _by_sign([pattern.hints or ("",) for pattern in self._patterns[0]])

    def mask(self, text: str) -> Masked:
        """Replace every finding by its kind, or the whole text by a note if it cannot be masked in time."""
        if len(text) > self._longest:
            return _withheld(f"{len(text)} characters are more than the {self._longest} that are masked")
        plain = plain_spelling(text)
        found: Counter[str] = Counter()
        for kind, pattern in self._own.items():
            try:
                plain, count = pattern.subn(f"[{kind}]", plain, timeout=OWN_PATTERN_SECONDS, concurrent=True)
            except TimeoutError:
                return _withheld(f"the pattern {kind!r} of SWITCHYARD_MASK_PATTERNS took too long")
            found.update({kind: count} if count else {})
        plain = self._built_in(plain, found)
        return Masked(plain, dict(found)) if found else Masked(text)

    def _built_in(self, plain: str, found: Counter[str]) -> str:
        lower = plain.lower()
        digits = _digits_near_each_other(plain)
        if digits == 0 and not _any_stands_in(self._hints, lower):
            return plain  # as in most texts: no pattern can match
        for pattern in self._patterns[digits]:
            if pattern.may_stand_in(lower):
                plain = pattern.regex.sub(partial(_replaced, pattern, found), plain)
        return plain

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
        """The masked text, cut to `limit` characters. Returns None if there is no text or if masking failed.

        Masks only as much of a long text as is needed. The end of that part is dropped, because a secret there may have
        been cut in two.
        """
        if text is None:
            return None
        try:
            read = text[: limit + _MARGIN]
            masked = self.mask(read)
        except Exception:  # fail-closed: whatever the reason, what cannot be masked is not recorded
            return None
        whole = len(read) == len(text) or masked.withheld
        kept = limit if whole else min(limit, max(0, len(masked.text) - _MARGIN))
        return masked if len(masked.text) <= kept else replace(masked, text=masked.text[:kept])


def _compiled(kind: str, pattern: str) -> regex.Pattern[str]:
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise ConfigError(
            f"SWITCHYARD_MASK_PATTERNS: the pattern of {kind!r} is no regular expression: {error}. Correct {pattern!r}."
        ) from error
    if compiled.search("") is not None:
        raise ConfigError(
            f"SWITCHYARD_MASK_PATTERNS: the pattern of {kind!r} matches the empty text, so it would match everywhere. "
            f"Make {pattern!r} ask for one character at least."
        )
    return compiled


def _withheld(reason: str) -> Masked:
    return Masked(f"[withheld: {reason}]", {WITHHELD: 1})


def plain_spelling(text: str) -> str:
    """The text with the escapes of JSON, URLs and HTML resolved, and with compatible characters (Unicode's NFKC)
    replaced by the common one. (Unresolved, the `n` of an escaped line break would look like a letter of a word.)"""
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
    """Group all hints by their first character that is no letter or digit. If a text lacks that character, it has none
    of the group's hints."""
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
    """The character that an escape stands for. Line breaks and tabs become a space."""
    high, low, letter, byte, short = escape.groups()
    if high:
        return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00)
    return chr(int(letter or byte, 16)) if letter or byte else short if short in "\"'/" else " "


def _digits_near_each_other(text: str) -> int:
    """How many digits stand near each other, as far as the patterns ask: 0, 1 or `NEAR_DIGITS`."""
    if not _DIGIT.search(text):
        return 0
    return NEAR_DIGITS if _NEAR_DIGITS.search(text) else 1


def _replaced(pattern: Pattern, found: Counter[str], match: re.Match[str]) -> str:
    """The kind in place of the longest beginning of the match that passes the pattern's check."""
    text = match.group()
    for end in _ends(text, pattern.shortest):
        if pattern.holds is None or pattern.holds(text[:end]):
            found[pattern.kind] += 1
            return f"[{pattern.kind}]{text[end:]}"
    return text


def _ends(text: str, shortest: int | None) -> Iterator[int]:
    """The length of the whole text; then, unless `shortest` is None, each separator's position from the right."""
    yield len(text)
    if shortest is not None:
        for position in range(len(text) - 1, shortest - 1, -1):
            if not text[position].isalnum():
                yield position
