"""The patterns of personal data and secrets, kind by kind, for texts in plain spelling (`rules.masking`).

`PATTERNS` is in search order: longer kinds and kinds with check digits come first, so that a phone number is not found
inside an IBAN. Most texts hold no secret, so each pattern names what a text must contain to be searched for it at all.

Callers choose the texts, so every pattern must take time in proportion to the text's length, whatever the text. Rules
that keep it so: a repetition without an upper bound is possessive (`++`), or nothing can fail after it; a pattern that
begins with such a repetition begins only where a run of these characters begins. `tests/attacks/test_masking.py` tries
repeated pieces of every pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_project.rules import check_digits

NEAR_DIGITS = 7
"""The fewest digits of a number that is recognised by its digits alone."""


@dataclass(frozen=True)
class Pattern:
    """How to find one kind of secret.

    `holds` decides whether a match is a secret, for instance by check digits; None accepts every match. If the match
    fails, `holds` is asked about its beginnings that end before a separator, down to `shortest` characters (None: about
    none of them). A text is searched only if it contains one of `hints` (lower case; empty: any text) and `digits`
    digits near each other (0, 1 or `NEAR_DIGITS`).
    """

    kind: str
    regex: re.Pattern[str]
    holds: Callable[[str], bool] | None = None
    hints: tuple[str, ...] = ()
    digits: int = 0
    shortest: int | None = None

    def may_stand_in(self, lower: str) -> bool:
        """Whether a text, given in lower case, contains one of the hints. (A loop: `any` takes twice as long.)"""
        for hint in self.hints:
            if hint in lower:
                return True
        return not self.hints


def _key(regex: str, *hints: str, flags: int = 0) -> Pattern:
    return Pattern("key", re.compile(regex, flags), hints=hints)


def _number(
    kind: str,
    regex: str,
    holds: Callable[[str], bool] | None = None,
    *hints: str,
    digits: int = NEAR_DIGITS,
    shortest: int = NEAR_DIGITS,
) -> Pattern:
    return Pattern(kind, re.compile(regex, re.IGNORECASE), holds, hints, digits, shortest)


_ISSUED = {
    r"(?:sk|pk|rk)[-_](?:[a-zA-Z0-9]+[-_]){0,24}[a-zA-Z0-9]{12,}\b": ("sk-", "sk_", "pk-", "pk_", "rk-", "rk_"),
    r"(?:AKIA|ASIA)[A-Z0-9]{16}\b": ("akia", "asia"),
    r"AIza[\w-]{30,}": ("aiza",),
    r"gh[pousr]_\w{30,}": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    r"github_pat_\w{20,}": ("github_pat_",),
    r"(?:xoxe\.)?xox[a-z]-[\w-]{10,}": ("xox",),
    r"xapp-\d-[\w-]{6,}": ("xapp-",),
    r"hooks\.slack\.com/services/[\w/]{20,}": ("hooks.slack",),
    r"(?:gl[a-z]{2,5}|GOCSPX|pplx|xai|nvapi|tvly|pypi)-[\w-]{16,}": (
        *("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "gocspx-", "pplx-", "xai-", "nvapi-", "tvly-", "pypi-"),
    ),
    r"(?:hf|sy|npm|whsec|shp(?:at|ss|ca|pa)|dop_v1|gsk|r8|lin_api|figd|sntrys|glsa|dckr_pat|sbp)_[\w-]{20,}": (
        *("hf_", "sy_", "npm_", "whsec_", "shpat_", "shpss_", "shpca_", "shppa_", "dop_v1_", "gsk_", "r8_"),
        *("lin_api_", "figd_", "sntrys_", "glsa_", "dckr_pat_", "sbp_"),
    ),
    r"dapi[0-9a-f]{32}\b": ("dapi",),
    r"key-[0-9a-f]{32}\b": ("key-",),
    r"SG\.[\w-]{16,}\.[\w-]{16,}": ("sg.",),
    r"(?:ya29|hvs)\.[\w-]{20,}": ("ya29.", "hvs."),
    r"1//0[\w-]{30,}": ("1//0",),
    r"(?:EAA[a-zA-Z0-9]{28,}|ATATT3[\w-]{20,})": ("eaa", "atatt3"),
    r"sq0[a-z]{3}-[\w-]{20,}": ("sq0",),
    r"AGE-SECRET-KEY-1[A-Z0-9]{20,}": ("age-secret-key-",),
    r"\d{8,10}:AA[\w-]{32,}": (":aa",),
}
"""Keys that begin with a prefix of their issuer, with the hints for each."""
_NAME = (
    r"(?:(?:api|access|secret|private|signing|encryption|account|shared|auth|master)[\s_-]?key(?:[_-]id)?"
    r"|secret(?:[_-]\w{1,32})?|token|(?:pass|kenn)(?:word|wort|wd|phrase|code)|pwd|credentials?"
    r"|contrase(?:ñ|n)a|mot\sde\spasse|senha|(?:php|j)?sess(?:ion)?[_-]?id|\bpass)\b"
)
_NAMES = ("key", "secret", "token", "pass", "pwd", "credential", "kenn", "contrase", "senha", "sess")
_VALUE = r"(?:\"[^\"]{5,}\"?|'[^']{5,}'?|(?!\[\w+\])[^\s\"',;&}<]{5,})"


def _is_token(text: str) -> bool:
    """Whether a text that begins like a JSON web token has a second part. (If the regular expression decided that, it
    would look for the dot again from each `eyJ` inside the first part.)"""
    return "." in text


_KEYS = (
    _key(
        r"-{3,5}BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-{3,5}.*?(?:-{3,5}END [A-Z ]*PRIVATE KEY(?: BLOCK)?-{3,5}|\Z)",
        "private key",
        flags=re.DOTALL,
    ),
    Pattern("key", re.compile(r"\beyJ[\w-]{8,}+(?:\.[\w-]{8,}(?:\.[\w-]+)?)?"), _is_token, ("eyj",)),
    *(_key(rf"\b{regex}", *hints) for regex, hints in _ISSUED.items()),
    Pattern("key", re.compile(r"\b(?:AC|SK)[0-9a-f]{32}\b"), digits=1),
    _key(r"authorization[\"']?\s*[:=]\s*[\"']?(?:[a-z][\w-]*\s+)?[\w.~+/=-]{8,}", "authorization", flags=re.IGNORECASE),
    _key(r"\bBearer\s+[\w.~+/=-]{8,}", "bearer", flags=re.IGNORECASE),
    _key(r"\bBasic\s+[\w+/]{8,}={1,2}", "basic", flags=re.IGNORECASE),
    _key(
        r"\bcookie[\"']?\s*:\s*[\"']?[^\s;=]{1,256}=[^\s;\"']+(?:;\s*[^\s;=]+=[^\s;\"']+)*",
        "cookie",
        flags=re.IGNORECASE,
    ),
    _key(r"(?<=://)(?:[^\s/@:]{0,64}:[^\s/]{1,128}|[^\s/@:]{16,128})(?=@)", "://"),
    _key(r"(?<=\s-u\s)[^\s:]{1,64}:\S{4,}", " -u "),
    _key(
        rf"{_NAME}(?:[\"']?\s*(?:[:=]>?|->|>)\s*{_VALUE}|\s+is\s+(?=\S*\d)[^\s\"',;&}}]{{6,}}"
        r"|\s+(?=[\w-]*\d)(?=[\w-]*[a-z])[\w-]{10,})",
        *_NAMES,
        flags=re.IGNORECASE,
    ),
    _key(r"(?:(?<=[?&])|\b)(?:key|sig|signature|x-amz-signature)=[\w%+/-]{16,}=*", "key=", "sig", flags=re.IGNORECASE),
)

_AT = r"(?:[\"]?@|\s?[\[({<]\s?at\s?[\])}>]\s?)"
_DOT = r"(?:\.|\s?[\[({<]\s?(?:dot|\.)\s?[\])}>]\s?)"
_TOP = r"(?:com|org|net|edu|gov|io|co|ai|eu|de|fr|uk|es|it|nl|pl|example)\b"
_LOCAL = r"(?<![\w.+-])[\w.+-]++"
_EMAILS = (
    Pattern(
        "email",
        re.compile(
            rf"{_LOCAL}\s++at\s++[\w-]{{1,63}}+(?:\s++dot\s++[\w-]{{1,63}}+){{0,2}}\s++dot\s++{_TOP}", re.IGNORECASE
        ),
        hints=("dot ",),
    ),
    Pattern("email", re.compile(rf"{_LOCAL}\s{{0,2}}@\s{{0,2}}(?:[\w-]{{1,63}}\.){{1,4}}{_TOP}"), hints=(" @", "@ ")),
    Pattern(
        "email",
        re.compile(rf"(?<![\w.+%'-])[\w.+%'-]++{_AT}[\w-]{{1,63}}(?:{_DOT}[\w-]{{1,63}}){{1,6}}", re.IGNORECASE),
        hints=("@", *(f"{bracket}{space}at" for bracket in "[({<" for space in ("", " "))),
    ),
)

_SEPARATED_DIGITS = r"(?<![\w.])\d(?:[ \-.+]?\d){%s}(?![\w]|\.\d)"
_PHONE_WORD = r"\b(?:tel(?:e?(?:fon|phone|fono)|éfono)?|phone|mobile?|handy|cell|fax|whatsapp)"
_NUMBERS = (
    _number(
        "iban",
        r"(?<![a-z0-9])[a-z]{2}[\s_]?\d{2}(?:[\s._/+-]{0,3}[a-z0-9]){11,30}(?![a-z0-9])",
        check_digits.iban,
        digits=1,
        shortest=min(check_digits.IBAN_LENGTHS.values()),
    ),
    _number("phone", r"(?<![\w.+])\+\d(?:[\s\-./()_+]{0,3}\d){6,14}(?!\w)", check_digits.phone, "+"),
    _number(
        "national_id",
        r"(?<![0-9a-f])[12][ .-]?\d{2}[ .-]?\d{2}[ .-]?\d[\dab][ .-]?\d{3}[ .-]?\d{3}[ .-]?\d{2}(?![0-9a-f])",
        check_digits.french_nir,
    ),
    _number("card", _SEPARATED_DIGITS % "12,18", check_digits.card, shortest=13),
    _number(
        "card",
        r"(?<![0-9a-f.])[2-6]\d{3}(?P<between>[^\w,;]{1,3}|_|)(?:\d{4}(?P=between)){2}\d{4}(?![0-9a-f])",
        check_digits.luhn,
    ),
    _number(
        "ip",
        r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4})(?![\w:])",
        check_digits.ip_address,
        ":",
        digits=1,
        shortest=3,
    ),
    _number(
        "ip", r"(?<![a-z0-9.])(?:\d{1,3}(?:\.|\[\.\])){3}\d{1,3}(?![a-z0-9]|\.\d)", check_digits.ip_address, digits=1
    ),
    _number("national_id", r"\b(?!000|666|9\d\d)\d{3}(?P<between>[-. ]| - )(?!00)\d{2}(?P=between)(?!0000)\d{4}\b"),
    _number(
        "national_id",
        r"\b(?:ssn|social security)(?: n\w{1,5}\.?)?[\s:#=.\"']{0,4}(?:is )?\d{3}[-. ]?\d{2}[-. ]?\d{4}\b",
        None,
        "ssn",
        "social sec",
    ),
    _number("national_id", r"\b[a-ceghj-pr-tw-z][a-ceghj-npr-tw-z][ -]?(?:\d{2}[ -]?){3}[a-d]\b", digits=1),
    _number("national_id", r"\b[a-z]{3} ?[a-z]{3} ?\d{2}[a-ehlmprst]\d{2} ?[a-z]\d{3}[a-z]\b", digits=1),
    _number("national_id", r"\b(?:\d{2}[. ]?\d{3}[. ]?\d{3}|[xyz]-?\d{7})[- ]?[a-z]\b", check_digits.spanish_id),
    _number("national_id", _SEPARATED_DIGITS % "10", check_digits.german_tax_id, shortest=11),
    _number("national_id", r"(?<![0-9a-f])\d{11}(?![0-9a-f])", check_digits.pesel),
    _number("phone", r"(?<![\w.-])00 ?\d(?:[ \-./()+]{0,3}\d){6,14}(?!\w)", check_digits.phone, "00"),
    _number(
        "phone",
        rf"{_PHONE_WORD}(?: n\w{{1,5}})?[\s.:#=\"']{{0,4}}(?:is )?\(?\d(?:[ \-./()+]{{0,3}}\d){{6,14}}(?!\w)",
        check_digits.phone,
        *("tel", "phone", "mobil", "handy", "cell", "fax", "whatsapp"),
    ),
    _number("phone", r"(?<![\w.+/-])\(?0\)?\d{1,5}\)?(?:[ \-./+]{1,3}\d{2,}){1,5}(?!\w)", check_digits.phone, "0"),
    _number("phone", r"(?<![\w.+/-])0\d{8,10}(?!\w)", None, "0"),
    _number(
        "phone",
        r"(?<![\w.+-])(?:1[ \-.+]{1,2})?(?:\([2-9]\d{2}\)[ \-.+]{0,3}|[2-9]\d{2}[ \-.+]{1,3})\d{3}"
        r"[ \-.+]{1,3}\d{4}(?!\w)",
        check_digits.phone,
    ),
    _number(
        "phone",
        r"(?<![\w.+-])(?:8 )?\((?!(?:19|20)\d\d\))\d{2,5}\)[ \-./+]{0,3}\d{3,5}(?:[ \-./+]{1,3}\d{2,5}){1,3}(?!\w)",
        check_digits.phone,
    ),
)

PATTERNS: tuple[Pattern, ...] = (*_KEYS, *_EMAILS, *_NUMBERS)
