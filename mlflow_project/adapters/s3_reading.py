"""Signed GET and HEAD requests to an S3 store. Importing boto3 and making its client takes longer than most commands;
this module needs only urllib3. `object_store` reads through it, and writes through boto3.

In: bucket, key and query. Out: the store's answer. The signature is AWS Signature Version 4:
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import urllib3

from mlflow_project.adapters.connections import pool_for
from mlflow_project.settings import StoreSettings

_NO_BODY = hashlib.sha256(b"").hexdigest()
_SIGNED = "host;x-amz-content-sha256;x-amz-date"
_TEMPORARY = (500, 502, 503, 504)


class S3Refused(Exception):
    """The store answered with an error. `code` is S3's, such as NoSuchKey; for a HEAD request the HTTP status."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


class S3Reader:
    """Reads over a pool of connections, from any thread. Each request is tried twice.

    Every call raises `S3Refused` for an error of the store, and `connections.FAILURES` when it does not answer.
    """

    def __init__(self, settings: StoreSettings, connect_timeout: float, read_timeout: float) -> None:
        self._settings = settings
        parts = urlsplit(settings.s3_endpoint)
        self._host, self._folder = parts.netloc, parts.path.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._pool = pool_for(
            self._origin,
            maxsize=32,
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            retries=urllib3.Retry(total=1, redirect=0, status_forcelist=_TEMPORARY, raise_on_status=False),
        )

    def request(
        self, method: str, bucket: str, key: str = "", query: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Send one request, and read the whole answer."""
        path = f"{self._folder}/{quote(f'{bucket}/{key}' if key else bucket)}"
        asked = "&".join(f"{quote(name, '')}={quote(text, '')}" for name, text in sorted((query or {}).items()))
        headers = self._signed(method, path, asked)
        address = f"{self._origin}{path}?{asked}" if asked else f"{self._origin}{path}"
        response = self._pool.request(method, address, headers=headers)
        if response.status >= 300:
            raise _refusal(response)
        return response

    def pages(self, bucket: str, query: Mapping[str, str]) -> Iterator[ElementTree.Element]:
        """The pages of a list of objects or of their versions, as XML without name spaces. Keys are URL-encoded."""
        asked = {**query, "encoding-type": "url"}
        while True:
            try:
                page = _xml(self.request("GET", bucket, query=asked).data)
            except ElementTree.ParseError as error:
                raise S3Refused("InvalidAnswer", "its list is not XML, so no S3 store answers there.") from error
            yield page
            if page.findtext("IsTruncated") != "true":
                return
            following = {
                "continuation-token": page.findtext("NextContinuationToken"),
                "key-marker": page.findtext("NextKeyMarker"),
                "version-id-marker": page.findtext("NextVersionIdMarker"),
            }
            asked |= {name: text for name, text in following.items() if text}

    def _signed(self, method: str, path: str, query: str) -> dict[str, str]:
        """The headers of a request without a body, with its signature."""
        time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        day, region = time[:8], self._settings.s3_region
        scope = f"{day}/{region}/s3/aws4_request"
        own = f"host:{self._host}\nx-amz-content-sha256:{_NO_BODY}\nx-amz-date:{time}\n"
        canonical = f"{method}\n{path}\n{query}\n{own}\n{_SIGNED}\n{_NO_BODY}"
        text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self._settings.s3_secret_key.get_secret_value()}".encode()
        for part in (day, region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        who = f"{self._settings.s3_access_key.get_secret_value()}/{scope}"
        return {
            "Host": self._host,
            "x-amz-content-sha256": _NO_BODY,
            "x-amz-date": time,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={who}, SignedHeaders={_SIGNED}, Signature={signature}",
        }


def _refusal(response: urllib3.BaseHTTPResponse) -> S3Refused:
    try:
        found = _xml(response.data)
    except ElementTree.ParseError:
        return S3Refused(str(response.status), "")
    return S3Refused(found.findtext("Code") or str(response.status), found.findtext("Message") or "")


def _xml(data: bytes) -> ElementTree.Element:
    root = ElementTree.fromstring(data)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root
