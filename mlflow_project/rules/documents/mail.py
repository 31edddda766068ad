"""Reads e-mail messages (RFC 5322, MIME) with Python's own parser. Needs lxml for messages that are HTML only.

The subject is the title; sender, receivers, date and the names of attachments become metadata. Attachments are not
read.
"""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

from mlflow_project.rules.chunking.html_page import visible_text
from mlflow_project.rules.documents.opened import Opened

_HEADERS = {"from": "from", "to": "to", "cc": "cc", "date": "sent"}


def open_mail(data: bytes) -> Opened:
    """Open a message."""
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    metadata: dict[str, object] = {
        name: " ".join(str(message[header]).split()) for header, name in _HEADERS.items() if message[header]
    }
    attachments = [name for part in message.iter_attachments() if (name := part.get_filename())]
    if attachments:
        metadata["attachments"] = attachments
    return Opened(" ".join(str(message["subject"] or "").split()), [lambda: _body(message)], "body", metadata=metadata)


def _body(message: EmailMessage) -> str:
    """The text of a message: its plain text, or what a reader sees of its HTML."""
    body = message.get_body(preferencelist=("plain", "html"))
    if not isinstance(body, EmailMessage):
        return ""
    content = str(body.get_content())
    return visible_text(content.encode("utf-8", "replace"))[0] if body.get_content_subtype() == "html" else content
