"""Check digits of numbers that identify people, accounts and machines.

Each function takes a text that has the number's shape, separators included, and returns whether the number is valid.
"""

from __future__ import annotations

import ipaddress
import re

IBAN_LENGTHS = {
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
"""Characters of an IBAN by country, from the IBAN registry."""


def luhn(text: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812-1)."""
    digits = re.sub(r"\D", "", text)
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    return (sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


_DOUBLED = [sum(divmod(2 * digit, 10)) for digit in range(10)]


def card(text: str) -> bool:
    """A number with a valid check digit that is written like a card number.

    Cards of 13 digits begin with 4, 5 or 6, so that a time in milliseconds is no card; no card begins with 0. At most
    one character stands between digits, the same one throughout. Rows of small numbers and of decimals are no cards.
    """
    digits = re.sub(r"\D", "", text)
    if not 13 <= len(digits) <= 19:
        return False
    begins = digits[0] != "0" if len(digits) > 13 else digits[0] in "456"
    return begins and luhn(digits) and len(set(re.sub(r"\d", "", text))) <= 1 and _grouped(text)


def _grouped(text: str) -> bool:
    """Whether a number has a group of three or more digits, or only single digits. A row of a table has neither."""
    longest = max(map(len, re.findall(r"\d+", text)))
    return longest >= 3 or longest == 1


def iban(text: str) -> bool:
    """The check digits of an IBAN (ISO 13616): the number, country moved to the end, is 1 modulo 97."""
    plain = re.sub(r"[\W_]", "", text).upper()
    if len(plain) != IBAN_LENGTHS.get(plain[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def german_tax_id(text: str) -> bool:
    """Steuer-Identifikationsnummer: eleven digits, check digit by ISO/IEC 7064 MOD 11,10."""
    digits = [int(digit) for digit in re.sub(r"\D", "", text)]
    if len(digits) != 11 or not _grouped(text):
        return False
    product = 10
    for digit in digits[:10]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return digits[0] != 0 and (11 - product) % 10 == digits[10]


def french_nir(text: str) -> bool:
    """Numéro de sécurité sociale: the last two digits are 97 minus the others modulo 97 (Corsica is 19 and 18)."""
    plain = re.sub(r"[\W_]", "", text).upper().replace("2A", "19").replace("2B", "18")
    return len(plain) == 15 and plain.isdigit() and 97 - int(plain[:13]) % 97 == int(plain[13:])


def spanish_id(text: str) -> bool:
    """DNI and NIE: the letter is taken from a fixed table, by the number modulo 23."""
    plain = re.sub(r"[\W_]", "", text).upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


def pesel(text: str) -> bool:
    """Polish PESEL: weights 1 3 7 9, sum modulo 10."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    weighted = sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=False))
    month = digits[2] * 10 + digits[3]
    return len(digits) == 11 and weighted % 10 == 0 and 1 <= month % 20 <= 12


def ip_address(text: str) -> bool:
    """An address that the standard library accepts; the unspecified ones (`0.0.0.0`, `::`) do not count."""
    plain = re.sub(r"\b0+(?=\d)", "", text.replace("[.]", ".")) if "." in text else text
    try:
        return not ipaddress.ip_address(plain).is_unspecified
    except ValueError:
        return False


def phone(text: str) -> bool:
    """Eight to fifteen digits (E.164) that do not begin with a date such as 24.11.2026."""
    return (
        not re.match(r"\d{1,2}([./-])\d{1,2}\1\d{4}", text)
        and 8 <= sum(character.isdigit() for character in text) <= 15
    )
