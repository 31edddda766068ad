"""Personal data and secrets that do not exist, in many spellings: `planted(kind, count)`, the same ones every time.

Numbers carry right check digits. Each comes with the pieces of it that must not be found anywhere afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice

from mlflow_project.rules.check_digits import german_tax_id, iban, luhn, pesel, spanish_id

FULL_WIDTH = {ord(str(digit)): chr(ord("０") + digit) for digit in range(10)}


def planted(kind: str, count: int = 500) -> list[str]:
    """So many distinct ones of a kind."""
    source = random.Random(kind)
    make = (KINDS | SITE_KINDS)[kind]
    return list(islice(_distinct(lambda: make(source)), count))


def _distinct(make: Callable[[], str]) -> Iterator[str]:
    seen: set[str] = set()
    while True:
        made = make()
        if made not in seen:
            seen.add(made)
            yield made


def _digits(source: random.Random, count: int, first: str = "123456789") -> str:
    return source.choice(first) + "".join(source.choices("0123456789", k=count - 1))


def _word(source: random.Random, count: int, letters: str = "abcdefghijkmnpqrstuvwxyz") -> str:
    return "".join(source.choices(letters, k=count))


def _checked(make: Callable[[], str], holds: Callable[[str], bool]) -> str:
    while not holds(made := make()):
        pass
    return made


def _grouped(text: str, sizes: list[int], separator: str) -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    return separator.join([*parts, *([text[at:]] if at < len(text) else [])])


def _email(source: random.Random) -> str:
    at = source.choice(["@", "@", "%40", "＠", " [at] ", "(at)", "\\u0040", "&#64;"])
    dot = source.choice([".", ".", " [dot] ", "(dot)"]) if "at" in at else "."
    local = source.choice(["", "a.", "x+tag", "first_"]) + _word(source, 8)
    if source.random() < 0.1:
        return f"{local} at {_word(source, 7)} dot {source.choice(['com', 'org', 'de', 'example'])}"
    return f"{local}{at}{_word(source, 7)}{dot}{source.choice(['com', 'org', 'de', 'example'])}"


def _card(source: random.Random) -> str:
    number = _checked(lambda: _digits(source, 16, "45"), luhn)
    separator = source.choice(["", " ", "-", ".", "\u00a0", "\u2009", "\u2011"])
    spelt = _grouped(number, [4, 4, 4, 4], separator).rstrip(separator or "x")
    return source.choice([spelt, spelt, spelt.translate(FULL_WIDTH), spelt.replace("4", "4\u200b", 1)])


def _iban(source: random.Random) -> str:
    body = _digits(source, 18, "0123456789")
    check = 98 - int(body + "131400") % 97
    plain = f"DE{check:02d}{body}"
    assert iban(plain)
    spelt = _grouped(plain, [4] * 5, source.choice(["", " ", "-", "\u00a0"]))
    return source.choice([spelt, spelt.lower()])


def _ip(source: random.Random) -> str:
    if source.random() < 0.5:
        return ".".join(str(source.randint(11, 250)) for _ in range(4))
    return "2001:db8:" + ":".join(f"{source.randint(4096, 65535):x}" for _ in range(6))


def _phone(source: random.Random) -> str:
    local = _digits(source, 7)
    forms = [
        f"+49 {_digits(source, 2)} {local}",
        f"+1 ({_digits(source, 3, '23456789')}) 555-{_digits(source, 4)}",
        f"0{_digits(source, 3)} {local}",
        f"+33\u00a06 12 {_digits(source, 2)} {_digits(source, 2)} {_digits(source, 2)}",
        f"0044 20 {_digits(source, 4)} {_digits(source, 4)}",
        f"0{_digits(source, 9)}",
        f"+44-20-{_digits(source, 4)}-{_digits(source, 4)}",
    ]
    return source.choice(forms)


def _national_id(source: random.Random) -> str:
    dni = _checked(lambda: _digits(source, 8) + source.choice("TRWAGMYFPDXBNJZSQVHLCKE"), spanish_id)
    birth = f"{source.randint(50, 99)}{source.randint(1, 12):02d}{source.randint(1, 28):02d}"
    forms = [
        f"{source.randint(100, 665)}-{source.randint(10, 99)}-{source.randint(1000, 9999)}",
        _checked(lambda: _digits(source, 11), german_tax_id),
        dni,
        f"{dni[:8]}-{dni[8]}",
        _checked(lambda: birth + _digits(source, 5), pesel),
        f"AB {source.randint(10, 99)} {source.randint(10, 99)} {source.randint(10, 99)} C",
    ]
    return source.choice(forms)


def _key(source: random.Random) -> str:
    body = _word(source, 32, "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    upper = body.upper()
    forms = [
        f"sk-proj-{body}",
        f"sk_live_{body}",
        f"AKIA{upper[:16]}",
        f"AIza{body}",
        f"ghp_{body}",
        f"github_pat_{body}",
        f"xoxb-{body[:12]}-{body[12:]}",
        f"glpat-{body[:20]}",
        f"hf_{body}",
        f"Bearer {body}",
        f"Authorization: Basic {body}==",
        f"npm_{body}",
        f"SG.{body[:16]}.{body}",
        f"aws_secret_access_key={body}",
        f"client_secret: {body}",
        f"DB_PASSWORD={body[:12]}",
        f"accessToken={body}",
        f"https://robot:{body[:14]}@host.example/path",
        f"password={body[:12]}",
        f'"api_key": "{body}"',
        f"eyJ{body[:12]}.{body[12:]}.{body[:10]}",
        f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----",
    ]
    return source.choice(forms)


SITE_PATTERN = {"ticket": r"\bTCK-[A-Z]{2}\d{6}\b"}
"""A site's own kind, as `SWITCHYARD_MASK_PATTERNS` names it."""


def _ticket(source: random.Random) -> str:
    return f"TCK-{_word(source, 2, 'ABCDEFGH')}{_digits(source, 6)}"


KINDS: dict[str, Callable[[random.Random], str]] = {
    "email": _email,
    "card": _card,
    "iban": _iban,
    "ip": _ip,
    "phone": _phone,
    "national_id": _national_id,
    "key": _key,
}
SITE_KINDS = {"ticket": _ticket}
"""What only a site that names the pattern masks."""
