"""Personal data and secrets replaced by their kind, in everything that is logged, traced or recorded.

In: a complete text (never a part of one: a number cut in two is no number). Out: the text with `[email]`, `[card]`, …
in place of what was found, and how many of each. Numbers with a checksum are masked only where it holds.
Fail-closed: `mask` either returns a masked text or raises; `record_safe` gives None instead, and None is not recorded.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

# Lengths by country, from the IBAN registry.
_IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "NL", "FO", "GL"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "XK"), 20),
    **dict.fromkeys(("CH", "CR", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("PT", "LY", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HU", "LB", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    "LC": 32,
}

_AT = r"(?:@|%40|\\u0040|&#64;|\s?[\[({]\s?at\s?[\])}]\s?)"
_DOT = r"(?:\.|\s?[\[({]\s?dot\s?[\])}]\s?)"
_TOP = r"(?:com|org|net|edu|gov|io|co|ai|eu|de|fr|uk|es|it|nl|pl|example)\b"
_ISSUED = (
    r"(?:sk|pk|rk)[-_](?:[a-zA-Z0-9]+[-_])*[a-zA-Z0-9]{12,}\b",
    r"(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"AIza[\w-]{30,}",
    r"gh[pousr]_\w{30,}",
    r"github_pat_\w{20,}",
    r"xox[abposr]-[\w-]{10,}",
    r"xapp-\d-[\w-]{6,}",
    r"glpat-[\w-]{16,}",
    r"hf_[a-zA-Z0-9]{20,}",
    r"sy_[\w-]{20,}",
    r"(?:npm_|whsec_|shpat_|dop_v1_)\w{20,}",
    r"dapi[0-9a-f]{32}\b",
    r"SG\.[\w-]{16,}\.[\w-]{16,}",
    r"(?:ya29|hvs)\.[\w-]{20,}",
    r"pypi-[\w-]{16,}",
)
"""Keys that their issuers gave a beginning by which to know them."""
_SECRET = (
    r"(?:access|auth|refresh|session|client)?[_-]?(?:api[_-]?key|access[_-]?key|secret(?:[_-]\w{1,32})?|token|pass"
    r"(?:word|wd|phrase)|pwd)\b"
)
_SEPARATED_DIGITS = r"(?<![\w.])\d(?:[ \-.]?\d){%s}(?![\w]|\.\d)"


@dataclass(frozen=True)
class Pattern:
    """One kind. `holds` is asked whether what matched, or the longest beginning of it that ends with a word, really is
    one; None: the match is enough. A text without `hint` is spared the search, where that is dear."""

    kind: str
    regex: re.Pattern[str]
    holds: Callable[[str], bool] | None = None
    hint: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Masked:
    """A text without what was found in it; `found` counts by kind."""

    text: str
    found: Mapping[str, int] = field(default_factory=dict)


def luhn(text: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812-1)."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """The check digits of an IBAN (ISO 13616): the number, country moved to the end, is 1 modulo 97."""
    plain = re.sub(r"[\s\-.]", "", text).upper()
    if len(plain) != _IBAN_LENGTHS.get(plain[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def german_tax_id(text: str) -> bool:
    """Steuer-Identifikationsnummer: eleven digits, check digit by ISO/IEC 7064 MOD 11,10."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    product = 10
    for digit in digits[:10]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return len(digits) == 11 and digits[0] != 0 and (11 - product) % 10 == digits[10]


def french_nir(text: str) -> bool:
    """Numéro de sécurité sociale: the last two digits are 97 minus the others modulo 97 (Corsica is 19 and 18)."""
    plain = re.sub(r"\W", "", text).upper().replace("2A", "19").replace("2B", "18")
    return len(plain) == 15 and plain.isdigit() and 97 - int(plain[:13]) % 97 == int(plain[13:])


def spanish_id(text: str) -> bool:
    """DNI and NIE: the letter is the number modulo 23 in a fixed row of letters."""
    plain = re.sub(r"\W", "", text).upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


def pesel(text: str) -> bool:
    """Polish PESEL: weights 1 3 7 9, sum modulo 10."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    weighted = sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=False))
    month = digits[2] * 10 + digits[3]
    return len(digits) == 11 and weighted % 10 == 0 and 1 <= month % 20 <= 12


def ip_address(text: str) -> bool:
    """An address that the standard library accepts, neither unspecified nor a lone `::`."""
    try:
        return not ipaddress.ip_address(text.split("%")[0]).is_unspecified
    except ValueError:
        return False


def phone(text: str) -> bool:
    """Eight to fifteen digits (E.164)."""
    return 8 <= sum(character.isdigit() for character in text) <= 15


def _pattern(kind: str, regex: str, holds: Callable[[str], bool] | None = None, flags: int = 0) -> Pattern:
    return Pattern(kind, re.compile(regex, flags), holds)


# In this order: what is longer or has a checksum goes first, so that a phone number is not found inside an IBAN.
PATTERNS: tuple[Pattern, ...] = (
    _pattern("key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", flags=re.DOTALL),
    _pattern("key", r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]+)?"),
    _pattern("key", rf"\b(?:{'|'.join(_ISSUED)})"),
    _pattern("key", r"\b(?:Bearer\s+|Authorization:\s*(?:Basic|Token|ApiKey)\s+)[\w.~+/=-]{8,}", flags=re.IGNORECASE),
    Pattern("key", re.compile(r"(?<=://)[^\s/@:]{1,64}:[^\s/@]{1,128}(?=@)"), hint=re.compile("://")),
    _pattern(
        "key",
        rf"(?:\b|_){_SECRET}[\"']?\s*(?:[:=]\s*[\"']?|\bis\s+(?=\S*\d))[^\s\"',;&}}]{{6,}}",
        flags=re.IGNORECASE,
    ),
    Pattern(
        "email",
        re.compile(
            rf"[\w.+-]{{1,64}}\s+at\s+[\w-]{{1,63}}(?:\s+dot\s+[\w-]{{1,63}}){{0,2}}\s+dot\s+{_TOP}", re.IGNORECASE
        ),
        hint=re.compile(r"\sdot\s", re.IGNORECASE),
    ),
    Pattern(
        "email",
        re.compile(rf"[\w.+%'-]{{1,64}}{_AT}[\w-]{{1,63}}(?:{_DOT}[\w-]{{1,63}}){{1,6}}", re.IGNORECASE),
        hint=re.compile(_AT, re.IGNORECASE),
    ),
    _pattern("iban", r"\b[A-Za-z]{2}\d{2}(?:[ \-.]?[A-Za-z0-9]){11,30}\b", iban),
    _pattern(
        "national_id",
        r"(?<!\d)[12][ .-]?\d{2}[ .-]?\d{2}[ .-]?\d[\dABab][ .-]?\d{3}[ .-]?\d{3}[ .-]?\d{2}(?!\d)",
        french_nir,
    ),
    _pattern("card", _SEPARATED_DIGITS % "12,18", luhn),
    _pattern("ip", r"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)", ip_address),
    _pattern("ip", r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])", ip_address),
    _pattern("national_id", r"\b(?!000|666|9\d\d)\d{3}[- ](?!00)\d{2}[- ](?!0000)\d{4}\b"),
    _pattern(
        "national_id", r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", flags=re.IGNORECASE
    ),
    _pattern("national_id", r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b", flags=re.IGNORECASE),
    _pattern("national_id", r"\b(?:\d{8}|[XYZxyz]-?\d{7})[- ]?[A-Za-z]\b", spanish_id),
    _pattern("national_id", _SEPARATED_DIGITS % "10", german_tax_id),
    _pattern("national_id", r"(?<!\d)\d{11}(?!\d)", pesel),
    _pattern("phone", r"(?<![\w.])(?:\+|00)\d(?:[ \-./()]{0,3}\d){6,14}(?!\w)", phone),
    _pattern("phone", r"(?<![\w.+/-])\(?0\d{1,5}\)?(?:[ \-./]{1,3}\d{2,}){1,5}(?!\w)", phone),
    _pattern("phone", r"(?<![\w.+/-])0\d{8,10}(?!\w)"),
    _pattern("phone", r"(?<![\w.+-])\(?[2-9]\d{2}\)?[ \-.]{1,2}\d{3}[ \-.]\d{4}(?!\w)", phone),
)

_NUMBERS = frozenset({"iban", "card", "national_id", "phone"})
"""Kinds that a text without any digit cannot hold: most texts are spared most of the work."""
_DIGIT = re.compile(r"\d")
_FULL_WIDTH = {ord("０") + value: str(value) for value in range(10)} | {ord("＠"): "@", ord("．"): "."}
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
_SPACES = dict.fromkeys(map(ord, "\u00a0\u202f\u2007\u2009"), " ")
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-")
_SPELLINGS = {**_FULL_WIDTH, **_INVISIBLE, **_SPACES, **_DASHES}

_ESCAPE = re.compile(r"\\+(?:u(?![dD][89a-fA-F])([0-9a-fA-F]{4})|([nrt\"/]))")


def _unescaped(text: str) -> str:
    """JSON's escapes as what they stand for, or a letter of one would pass for the beginning of a number's word."""
    while "\\" in text and (plain := _ESCAPE.sub(_meant, text)) != text:
        text = plain
    return text


def _meant(match: re.Match[str]) -> str:
    """A line break or tab is a space here."""
    return chr(int(match[1], 16)) if match[1] else match[2] if match[2] in '"/' else " "


class Masker:
    """The built-in patterns and a site's own (kind -> regular expression)."""

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        self._patterns = (*(_pattern(kind, regex) for kind, regex in (own or {}).items()), *PATTERNS)

    def mask(self, text: str) -> Masked:
        """Replace all that is found. Other spellings (full-width digits, no-break spaces) are made plain on the way."""
        found: Counter[str] = Counter()
        text = _unescaped(text).translate(_SPELLINGS)
        digits = _DIGIT.search(text) is not None
        for pattern in self._patterns:
            if (pattern.kind in _NUMBERS and not digits) or (pattern.hint and not pattern.hint.search(text)):
                continue
            text = pattern.regex.sub(partial(_replaced, pattern, found), text)
        return Masked(text, dict(found))

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
            return replace(masked, text=masked.text[:limit])
        except Exception:  # fail-closed: whatever broke, what cannot be masked is not recorded
            return None


def _replaced(pattern: Pattern, found: Counter[str], match: re.Match[str]) -> str:
    text = match.group()
    for end in _ends(text) if pattern.holds else [len(text)]:
        if pattern.holds is None or pattern.holds(text[:end]):
            found[pattern.kind] += 1
            return f"[{pattern.kind}]{text[end:]}"
    return text


def _ends(text: str) -> list[int]:
    """The whole, and what stands before each separator from the right."""
    return [len(text), *(match.start() for match in reversed(list(re.finditer(r"[ \-.]", text))))]
