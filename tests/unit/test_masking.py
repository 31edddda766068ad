"""Masking: what must go, what must stay, and that what cannot be masked is not recorded."""

from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.rules.masking import Masker

MASK = Masker()

SECRETS = [
    ("email", "anna.smith+news@example.co.uk"),
    ("email", "anna [at] example [dot] com"),
    ("email", "anna%40example.com"),
    ("email", "anna＠example.com"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "DE89370400440532013000"),
    ("iban", "gb82 west 1234 5698 7654 32"),
    ("iban", "BE68-5390-0754-7034"),
    ("card", "4111 1111 1111 1111"),
    ("card", "4111-1111-1111-1111"),
    ("card", "5500000000000004"),
    ("card", "378282246310005"),
    ("card", "4111\u00a01111\u00a01111\u00a01111"),
    ("ip", "192.168.17.4"),
    ("ip", "2001:db8::8a2e:370:7334"),
    ("phone", "+49 30 1234567"),
    ("phone", "+1 (415) 555-2671"),
    ("phone", "(415) 555-2671"),
    ("phone", "030 1234567"),
    ("phone", "+33 6 12 34 56 78"),
    ("national_id", "536-90-4399"),
    ("national_id", "AB 12 34 56 C"),
    ("national_id", "86 095 742 719"),
    ("national_id", "12345678Z"),
    ("national_id", "X1234567L"),
    ("national_id", "RSSMRA85T10A562S"),
    ("national_id", "44051401359"),
    ("national_id", "2 55 08 14 168 025 38"),
    ("key", "sk-proj-abcdefghijklmnop1234"),
    ("key", "AKIAIOSFODNN7EXAMPLE"),
    ("key", "AIzaSyA-1234567890abcdefghijklmnopqrstu"),
    ("key", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("key", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def_123"),
    ("key", "Bearer abcdefgh12345678"),
    ("key", "password: hunter2hunter2"),
    ("key", '"api_key": "0123456789abcdef"'),
    ("key", "-----BEGIN PRIVATE KEY-----\nMIIEvQ==\n-----END PRIVATE KEY-----"),
]


@pytest.mark.parametrize(("kind", "secret"), SECRETS)
@pytest.mark.parametrize("around", ["{}", "Please write to {} today.", "({})", '{{"a": "{}"}}', "x: {}, and then more"])
def test_every_kind_is_found_in_every_surrounding(kind: str, secret: str, around: str) -> None:
    masked = MASK.mask(around.format(secret))
    assert masked.found == {kind: 1}
    assert not any(part in masked.text for part in secret.split() if len(part) > 3)


SPELT = [
    ("email", "anna%2540example%2Ecom"),
    ("email", "anna&#x40;example&period;com"),
    ("email", "anna\\x40example.com"),
    ("email", "ａｎｎａ＠ｅｘａｍｐｌｅ．ｃｏｍ"),
    ("email", "anna @ example.com"),
    ("email", "anna@example[.]com"),
    ("card", "4111%201111%201111%201111"),
    ("card", "4111\t1111\t1111\t1111"),
    ("card", "4111 - 1111 - 1111 - 1111"),
    ("card", "4111—1111—1111—1111"),
    ("card", "4111•1111•1111•1111"),
    ("card", "𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏"),
    ("iban", "DE 89  3704  0044\u20020532\u20030130  00"),
    ("iban", "ref_DE89/3704/0044/0532/0130/00"),
    ("ip", "::ffff:192.168.17.4"),
    ("ip", "192[.]168[.]017[.]004"),
    ("ip", "2001%3Adb8%3A%3A8a2e%3A370%3A7334"),
    ("phone", "1-415-555-2671"),
    ("phone", "(11) 91234-5678"),
    ("phone", "+49_151_2345_6789"),
    ("phone", "Tel.030/1234567"),
    ("phone", '{"phone": "612345678"}'),
    ("national_id", "SSN 536904399"),
    ("national_id", "AB-12-34-56-C"),
    ("national_id", "12.345.678-Z"),
    ("key", '{"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}'),
    ("key", "Authorization%3A%20Bearer%20abcdefgh12345678"),
    ("key", "PGPASSWORD=hunter2hunter2"),
    ("key", "dbPassword: hunter2hunter2"),
    ("key", "password='hunter2, hunter3'"),
    ("key", "<password>hunter2hunter2</password>"),
    ("key", "--password hunter2hunter2"),
    ("key", "Passwort: hunter2hunter2"),
    ("key", "redis://:hunter2hunter2@host:6379"),
    ("key", "https://hunter2hunter2hunter2@github.com/x"),
    ("key", "Set-Cookie: sid=abcdef1234567890; session=abcdef1234567890"),
    ("key", "https://hooks.slack.com/services/T00000000/B00000000/abcdefghijklmnop"),
    ("key", "gsk_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("key", "GOCSPX-abcdefghijklmnopqrstuvwxyz12"),
    ("key", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOYBF1234"),
]


@pytest.mark.parametrize(("kind", "secret"), SPELT)
def test_spellings_are_read_as_what_they_mean(kind: str, secret: str) -> None:
    for text in (secret, json.dumps({"a": json.dumps([secret])}), quote(secret), html.escape(f"see {secret} here")):
        masked = MASK.mask(text)
        assert masked.found == {kind: 1}, (text, masked)
        assert not any(piece in masked.text for piece in ("1111", "3704", "anna", "5678", "hunter", "abcdef"))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("nested", ["%25" * 50_000 + "40", "&amp;" * 30_000 + "#64;", "\\" * 100_000 + "u0040"])
def test_spellings_inside_spellings_cost_no_more_than_their_length(nested: str) -> None:
    assert MASK.mask(nested).text


@pytest.mark.parametrize(
    "harmless",
    [
        "Version 4.2.0 was released on 2026-11-24 at 14:03:07.",
        "The order 1234567812345678 failed its check digit.",
        "It costs 1,234,567.89 EUR and took 1000 ms.",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "Read docs/guide/ledger.md, section 3.1.4, lines 100-200.",
        "At 10:30 the flip took 41 ms :: done",
        "It began at 1764021007123 ms and ended on 24.11.2026 - 11.12.2026.",
        "572a11663f37b12345678903 and 4bf92f3577b34da6a3ce929d0e0e4736 are ids.",
        "GET /docs?q=a%20b&lang=de … 100 % „richtig“ — ½ of ﬁve",
        "A token is a word; a password is required, and the keys are in the safe.",
        "In 12 of 14 cases, 1 000 000 rows, pages 12 - 345, 3.5e-10.",
        "From 02.08.2013 - 24.09.2027, see IMG_20255792_135929.jpg and Smith (1944) 128-627.",
        "46 23 41 46 45 29 75 20 and 0.399887 0.130426 0.006335 and 0.4111111111111111",
        "cbcad62b-edb5-4e89-83da-002934378905",
        "max_tokens: 1024, key: value, order 100-2345-678",
    ],
)
def test_what_only_looks_like_a_number_stays(harmless: str) -> None:
    assert MASK.mask(harmless).text == harmless


def test_a_sites_own_pattern_is_masked_too() -> None:
    assert Masker({"ticket": r"TCK-\d+"}).mask("see TCK-4711").text == "see [ticket]"


def test_keys_and_values_of_nested_data_are_masked() -> None:
    data = {"to": ["a@example.com", {"a@example.com": 3}]}
    assert MASK.mask_data(data) == {"to": ["[email]", {"[email]": 3}]}


def test_what_cannot_be_masked_is_not_recorded() -> None:
    class Broken(Masker):
        def mask(self, text: str):  # type: ignore[no-untyped-def]
            raise RecursionError

    assert Broken().record_safe("a@example.com", 100) is None


def test_a_text_is_masked_before_it_is_cut() -> None:
    masked = MASK.record_safe("aa 4111 1111 1111 1111", 12)
    assert masked is not None
    assert (masked.text, masked.found) == ("aa [card]", {"card": 1})


@pytest.mark.timeout(30)
@pytest.mark.parametrize("almost", ["\\", "sk-", "eyJ-", "cookie:", "\\\u200b", "xoxb-sk-", "a@", "%25", "4\u2013"])
def test_a_long_text_of_what_almost_is_a_secret_costs_no_more_than_its_length(almost: str) -> None:
    text = almost * (300_000 // len(almost))  # read once for each beginning, this would take minutes
    assert MASK.mask(text).text


@given(st.text(max_size=300))
def test_masking_takes_any_text_and_a_second_time_changes_nothing(text: str) -> None:
    once = MASK.mask(text).text
    assert MASK.mask(once).text == once
