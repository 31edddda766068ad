"""Support questions, each with its intent. Seeded: equal arguments give equal bytes.

The recipe. Twelve intents with a few phrasings each; a phrasing has places for things (a card, an amount, a country).
Questions begin and end politely, impatiently or not at all, lose their question mark or capitals, and every tenth has a
typing error. Three questions in a hundred carry a wrong intent, as in life. A question is labelled the day after.
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2025, 3, 1, 8, tzinfo=UTC)

_PLACES = {
    "card": ("card", "debit card", "credit card", "virtual card"),
    "amount": ("20 euros", "150 dollars", "my rent", "a large sum", "the money"),
    "who": ("my landlord", "a friend", "my sister", "a shop", "another bank"),
    "where": ("France", "Japan", "the United States", "Brazil", "abroad"),
    "when": ("since Monday", "for a week", "since yesterday", "for three days"),
}
PHRASINGS = {
    "card_lost": (
        "I lost my {card}",
        "someone stole my {card}, what do I do",
        "my {card} is missing, please block it",
        "how do I report a stolen {card}",
    ),
    "card_arrival": (
        "when does my new {card} arrive",
        "I have been waiting for my {card} {when}",
        "has my {card} been posted",
        "how long does delivery of a {card} take",
    ),
    "card_declined": (
        "my {card} was declined in {where}",
        "why does the shop refuse my {card}",
        "paying by {card} does not work {when}",
        "my {card} payment failed",
    ),
    "change_pin": (
        "how do I change my PIN",
        "I forgot the PIN of my {card}",
        "can I choose a new PIN for my {card}",
        "where do I reset a PIN",
    ),
    "transfer_pending": (
        "my transfer to {who} is still pending",
        "{who} has not received {amount}",
        "how long does a transfer to {who} take",
        "the transfer of {amount} has been pending {when}",
    ),
    "cancel_transfer": (
        "I sent {amount} to {who} by mistake, can I cancel",
        "please stop my transfer to {who}",
        "how do I take back a transfer",
        "cancel the payment of {amount} that I just made",
    ),
    "exchange_rate": (
        "which exchange rate do you use in {where}",
        "how is the rate for {amount} worked out",
        "the exchange rate looks wrong",
        "do I get a better rate at weekends",
    ),
    "fees_abroad": (
        "what does it cost to pay in {where}",
        "are there fees for cash machines in {where}",
        "why was I charged extra in {where}",
        "is there a charge for using my {card} in {where}",
    ),
    "top_up": (
        "how do I top up my account",
        "can I add {amount} by {card}",
        "my top-up has not arrived {when}",
        "is there a limit for adding money",
    ),
    "close_account": (
        "please close my account",
        "how do I delete my account",
        "I want to leave your bank",
        "what happens to {amount} when I close my account",
    ),
    "verify_identity": (
        "how do I verify my identity",
        "which documents do you need to verify me",
        "my passport was not accepted",
        "why must I prove who I am",
    ),
    "login_problem": (
        "I cannot log in {when}",
        "the app does not accept my password",
        "I have a new phone and cannot sign in",
        "how do I reset my password",
    ),
}
_BEFORE = ("", "", "", "hello, ", "hi there, ", "excuse me, ", "quick question: ", "again: ")
_AFTER = ("?", "?", "", ".", " please?", "!", " thanks")


def intent_rows(questions: int = 2_400, seed: int = 7) -> dict[str, list[dict[str, Any]]]:
    """`questions`, in the order in which they became known."""
    chance, rows = random.Random(seed), []
    intents = sorted(PHRASINGS)
    for number in range(questions):
        intent = intents[number % len(intents)]
        asked = START + timedelta(minutes=13 * number)
        rows.append(
            {
                "question_id": f"q{number:06}",
                "text": _question(chance, chance.choice(PHRASINGS[intent])),
                "intent": chance.choice(intents) if chance.random() < 0.03 else intent,
                "asked_at": asked.isoformat(),
                "labelled_at": (asked + timedelta(days=1)).isoformat(),
            }
        )
    return {"questions": rows}


def _question(chance: random.Random, phrasing: str) -> str:
    filled = re.sub(r"\{(\w+)\}", lambda place: chance.choice(_PLACES[place[1]]), phrasing)
    text = chance.choice(_BEFORE) + filled + chance.choice(_AFTER)
    if chance.random() < 0.1:
        at = chance.randrange(1, len(text) - 1)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text.lower() if chance.random() < 0.3 else text[0].upper() + text[1:]
