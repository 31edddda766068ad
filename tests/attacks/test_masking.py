"""Attacks on masking. The attacker sends texts to the server (questions, feedback) and chooses every character.

He wants a worker to spend its time on masking, or a secret to pass unmasked because the text around it is long.
Processor time is compared between a text and one four times as long, so a slow or busy machine changes nothing: masking
in linear time takes four times as long, in quadratic time sixteen times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_project.errors import ConfigError
from mlflow_project.rules.masking import LONGEST, WITHHELD, Masker

MASKER = Masker()
SHORT = 5_000
LINEAR = 10.0
"""A text four times as long may take so many times as long: between linear (4) and quadratic (16)."""
BRIEF = 0.004
"""Seconds below which a measurement says nothing about growth."""

PIECES = [
    *("1", "0", "4", "9", "a", "A", "z", "x", "_", "-", ".", ",", ":", ";", "/", "+", "=", "@", "&", "%", "?", "\\"),
    *("(", ")", "[", "]", "<", ">", "{", '"', "'", " ", "  ", "\n", "\t", "　", "​", "–", "１", "ﷺ", "é"),
    *("1 1 ", "12 ", "4111 ", "4111", "00", "0 ", "+1", "(1) ", "(123) ", "1.1", "1:1", "::", "1-1", " - ", "12 12 "),
    *("DE89", "DE89 ", "aa11", "ab 12 34", "X1234567", "RSSMRA85", "ssn ", "tel ", "fax: ", "phone is ", "IBAN"),
    *("sk-", "sk-a-", "pk_", "AKIA", "AIza", "ghp_", "github_pat_", "xox", "xoxb-", "xoxe.xoxp-", "xapp-1-", "SG."),
    *("hooks.slack.com/services/", "glpat-", "hf_", "dapi", "key-", "ya29.", "1//0", "EAA", "sq0csp-", ":AA", "eyJ"),
    *("eyJ-", "eyJaaaaaaaa.", "-----BEGIN ", "PRIVATE KEY", "-----END ", "-----", "authorization", "Bearer ", "Basic "),
    *("cookie:", "cookie: a=b", ";a=b", "://", "a:b@", " -u a:", "key", "api_key", "secret_", "token is ", "token: "),
    *('token:"', "token=>", "pass ", "password", "sig=", "key=", "x-amz-signature=", " at ", " dot ", "[at]", "(dot)"),
    *("a@", "a@a.", "@a.com", " @ ", "a.a", "%25", "%2540", "%40", "&amp;", "&#x40;", "&#", "\\u", "\\u0040", "\\x40"),
    *("\\ud83d\\ude00", "\\n", "\\\\"),
]


def repeated(fragment: str, length: int) -> str:
    return (fragment * (length // len(fragment) + 1))[:length]


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this thread: the least of three tries."""
    tries = []
    for _ in range(3):
        began = time.thread_time()
        work()
        tries.append(time.thread_time() - began)
    return min(tries)


def is_linear(fragment: str, around: str = "") -> bool:
    """Whether a text four times as long takes about four times as long; measured again where a busy machine hid it."""
    short, long = (repeated(fragment, length) + around for length in (SHORT, 4 * SHORT))
    for _ in range(5):
        taken = seconds(lambda: MASKER.mask(long))
        if taken < BRIEF or taken < LINEAR * seconds(lambda: MASKER.mask(short)):
            return True
    return False


@pytest.mark.parametrize("piece", PIECES)
def test_a_text_that_repeats_a_piece_of_a_pattern_takes_time_in_proportion_to_its_length(piece: str) -> None:
    assert is_linear(piece)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(PIECES), min_size=2, max_size=5), st.sampled_from(["", "@", "=", "-----", "!", "x" * 70])
)
def test_a_text_that_repeats_several_pieces_takes_time_in_proportion_to_its_length(pieces: list[str], end: str) -> None:
    fragment = "".join(pieces)
    assert is_linear(fragment, end), f"quadratic: {fragment!r}, then {end!r}"


@pytest.mark.long
@settings(max_examples=3_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8), st.sampled_from(PIECES))
def test_thousands_of_such_texts_take_time_in_proportion_to_their_length(pieces: list[str], end: str) -> None:
    fragment = "".join(pieces)
    assert is_linear(fragment, end), f"quadratic: {fragment!r}, then {end!r}"


def test_two_hundred_thousand_digits_cost_no_more_than_fifty_times_as_many_letters() -> None:
    letters = seconds(lambda: MASKER.mask(repeated("An ordinary sentence of a question, 42. ", LONGEST)))
    assert seconds(lambda: MASKER.mask(repeated("1 ", LONGEST))) < 50 * letters


def test_a_text_longer_than_what_is_masked_is_withheld_with_every_secret_in_it() -> None:
    masked = MASKER.mask("anna@example.com " + "x" * LONGEST)
    assert masked.withheld
    assert masked.text == f"[withheld: {LONGEST + 17} characters are more than the {LONGEST} that are masked]"


def test_what_is_recorded_of_a_long_text_is_masked_and_costs_what_is_recorded_of_it() -> None:
    secret = "4111 1111 1111 1111 "
    recorded = MASKER.record_safe(secret * 50_000, 2_000)
    assert recorded is not None
    assert set(recorded.text) <= set("[card] ")
    million, thousand = (repeated("1 ", length) for length in (1_000_000, 10_000))
    dear = seconds(lambda: MASKER.record_safe(million, 500))
    assert dear < 3 * seconds(lambda: MASKER.record_safe(thousand, 500)) + BRIEF


@given(st.integers(0, 600), st.integers(1, 600), st.sampled_from(["4111 1111 1111 1111", "anna@example.com"]))
def test_no_part_of_a_secret_is_recorded_wherever_the_text_is_cut(before: int, limit: int, secret: str) -> None:
    text = "x " * (before // 2) + f" {secret} " + "and more " * 1_000
    recorded = MASKER.record_safe(text, limit)
    assert recorded is not None
    assert len(recorded.text) <= limit
    assert not any(part in recorded.text for part in ("4111", "1111", "anna", "example"))


HOSTILE = r"\b(?:\w|\w\w)+!$"
"""A site's pattern that tries every way to split a word: exponential time."""


def test_a_sites_own_pattern_cannot_freeze_a_worker_and_its_text_is_withheld() -> None:
    masker, beats = Masker({"badge": HOSTILE}), [time.monotonic()]
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.001):
            beats.append(time.monotonic())

    other = threading.Thread(target=beat)
    other.start()
    began = time.thread_time()
    masked = masker.mask("1" * 60 + " anna@example.com!")
    taken = time.thread_time() - began
    done.set()
    other.join()
    assert masked.found == {WITHHELD: 1}
    assert "badge" in masked.text
    assert "anna" not in masked.text
    assert taken < 2, "the pattern is stopped; alone it would take years"
    assert len(beats) > 10, "other threads run meanwhile"
    assert masker.mask("anna@example.com has 12345!").text == "[email] has [badge]"


@pytest.mark.parametrize(("pattern", "said"), [("(", "no regular expression"), (r"\d*", "matches the empty text")])
def test_a_sites_pattern_that_cannot_be_used_is_refused_at_the_start(pattern: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"SWITCHYARD_MASK_PATTERNS: the pattern of 'badge' .*{said}"):
        Masker({"badge": pattern})


def test_a_sites_pattern_is_searched_for_in_every_spelling() -> None:
    masker = Masker({"badge": r"(?<!\w)EMP-\d{6}(?!\w)"})
    assert masker.mask("see EMP%2D123456 and ＥＭＰ－１２３４５６").found == {"badge": 2}
