"""`POST /webhooks/mlflow`: MLflow reports that an alias moved. The follower then looks at once instead of at its next
interval. It reads from the registry where the alias points, never from the message.

The route is open only where `SWITCHYARD_WEBHOOK_SECRET` is set, and only to messages signed with it, as MLflow does:
`X-MLflow-Signature: v1,<base64 of HMAC-SHA256 over "delivery id.timestamp.body">`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

from fastapi import APIRouter, Request, Response

from mlflow_project.errors import NotFound
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.web.problems import Unauthorized
from serving.server import TheServer

router = APIRouter(tags=["Operations"])

PATH = "/webhooks/mlflow"
OLDEST_SECONDS = 300
_MOST_DIGITS = 20
"""Python refuses to read numbers of thousands of digits, with an error of its own."""


@router.post(PATH, summary="MLflow says that something moved", status_code=204)
async def mlflow_says(request: Request, server: TheServer) -> Response:
    """Wakes the follower of this host."""
    settings = server.settings
    if settings.webhook_secret is None:
        raise NotFound("No webhook is taken here: SWITCHYARD_WEBHOOK_SECRET is not set.")
    if not _signed(request, await request.body(), settings.webhook_secret.get_secret_value()):
        raise Unauthorized("The signature is not made with SWITCHYARD_WEBHOOK_SECRET, or older than five minutes.")
    ServingFolder(settings.serving_folder).wake_follower()
    return Response(status_code=204)


def _signed(request: Request, body: bytes, secret: str) -> bool:
    delivery = request.headers.get("x-mlflow-delivery-id", "")
    sent = request.headers.get("x-mlflow-timestamp", "")
    if not sent.isdecimal() or len(sent) > _MOST_DIGITS or abs(time.time() - int(sent)) > OLDEST_SECONDS:
        return False
    made = hmac.new(secret.encode(), f"{delivery}.{sent}.".encode() + body, hashlib.sha256).digest()
    wanted = f"v1,{base64.b64encode(made).decode()}"
    return hmac.compare_digest(wanted.encode(), request.headers.get("x-mlflow-signature", "").encode())
