"""A route that takes one JSON body, headers and path parameters, and answers with JSON: documented by FastAPI, answered
without the rest of it, whose dependencies, exit stacks and encoders cost a request as much as the provider's call does.

In: a body that the guard has read whole. Out: what the endpoint returns, as its return type is documented, or its own
`Response`; an error as `problems` says it. A request that breaks the form is a `RequestValidationError`, as FastAPI
raises it. Dependencies are not resolved here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import problems

_JSON = "application/json"
_NO_JSON = {"type": "content_type", "loc": ("body",), "msg": "the body must be JSON, and its Content-Type must say so"}


class JsonRoute(APIRoute):
    """For a router's `route_class`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        form = self.dependant
        assert not form.dependencies, f"{path}: a JsonRoute resolves no dependencies"
        assert len(form.body_params) <= 1, f"{path}: a JsonRoute takes one body"
        assert not form.query_params, f"{path}: a JsonRoute takes no query"
        self._body = form.body_params[0] if form.body_params else None
        self._model: Any = self._body.field_info.annotation if self._body is not None else None
        self._headers = {field.alias.lower().encode(): field for field in form.header_params}
        self._path = {field.alias: field for field in form.path_params}
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._responded(request)
        except problems.ANSWERED as error:
            response = await problems.response_to(request, error)
        await response(scope, receive, send)

    async def _responded(self, request: Request) -> Response:
        given: dict[str, Any] = {}
        if self.dependant.request_param_name is not None:
            given[self.dependant.request_param_name] = request
        mistakes = [*self._read_path(request.scope, given), *self._read_headers(request.scope, given)]
        if self._body is not None:
            body = (await request.receive()).get("body", b"")
            mistakes += self._read_body(request, body, given)
        if mistakes:
            raise RequestValidationError(mistakes)
        result = await self.endpoint(**given)
        return result if isinstance(result, Response) else self._response(result)

    def _read_path(self, scope: Scope, given: dict[str, Any]) -> list[dict[str, Any]]:
        mistakes: list[dict[str, Any]] = []
        for alias, field in self._path.items():
            given[field.name], wrong = field.validate(scope["path_params"][alias], loc=("path", alias))
            mistakes += wrong
        return mistakes

    def _read_headers(self, scope: Scope, given: dict[str, Any]) -> list[dict[str, Any]]:
        mistakes: list[dict[str, Any]] = []
        for field in self._headers.values():
            given[field.name] = field.default
        for name, value in scope["headers"]:
            if name in self._headers:
                field = self._headers[name]
                given[field.name], wrong = field.validate(value.decode("latin-1"), loc=("header", field.alias))
                mistakes += wrong
        return mistakes

    def _read_body(self, request: Request, body: bytes, given: dict[str, Any]) -> list[dict[str, Any]]:
        assert self._body is not None, "a route without a body reads none"
        if not _says_json(next((value for name, value in request.scope["headers"] if name == b"content-type"), b"")):
            return [_NO_JSON]
        try:
            given[self._body.name] = self._model.model_validate_json(body)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            return [{**mistake, "loc": ("body", *mistake["loc"])} for mistake in found]
        return []

    def _response(self, result: Any) -> Response:
        assert self.response_field is not None, f"{self.path} says what it returns"
        return JsonResponse(self.response_field.serialize_json(result), self.status_code or 200)


class JsonResponse(Response):
    """JSON that is written already, with the two headers that it needs."""

    media_type = _JSON

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", _JSON.encode())]


class Doors:
    """Middleware: the JSON routes without path parameters, found by their path alone. All other requests, wrong methods
    and paths among them, are FastAPI's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: dict[tuple[str, str], JsonRoute] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._routes is None:
            self._routes = _by_path(scope["app"].routes)
        route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            await self._app(scope, receive, send)
        else:
            scope.update(route=route, endpoint=route.endpoint, path_params={})
            await route.app(scope, receive, send)


def _by_path(routes: Iterable[object]) -> dict[tuple[str, str], JsonRoute]:
    plain = [route for route in routes if isinstance(route, JsonRoute) and not route.param_convertors]
    return {(method, route.path): route for route in plain for method in route.methods}


@functools.lru_cache(maxsize=64)
def _says_json(content_type: bytes) -> bool:
    kind = content_type.decode("latin-1").partition(";")[0].strip().lower()
    return kind == _JSON or (kind.startswith("application/") and kind.endswith("+json"))
