"""Connections by urllib3, for programs that must start quickly: httpx takes five times as long to import."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

FAILURES = urllib3.exceptions.HTTPError
"""The errors of a request that gets no answer."""


def pool_for(address: str, **options: Any) -> urllib3.PoolManager:
    """A pool of connections to an address, through the proxy that the environment names for it.

    `AWS_CA_BUNDLE` names the file of trusted certificates, as for boto3; without it, those of the system are trusted.

    Args:
        options: passed on to `urllib3.PoolManager`.
    """
    parts = urlsplit(address)
    options.setdefault("ca_certs", os.environ.get("AWS_CA_BUNDLE"))
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def cause(error: Exception) -> str:
    """The name of what went wrong: where urllib3 has tried several times, that of the last time."""
    return type(getattr(error, "reason", None) or error).__name__
