"""The page's server: three files, and what the page asks of the model, as JSON.

It answers this machine alone: a request for another host's name, or from another site's page, is refused, so no page
on the web can use a model through the visitor's browser.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..errors import UserError
from .desk import Desk

HERE = Path(__file__).parent
MOST_BYTES = 20_000_000  # of an uploaded image
MOST_WORDS = 10_000  # bytes of any other request
HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class TooLarge(Exception):
    """A request's body that is over the limit."""


def application(desk: Desk) -> Starlette:
    """The page for a model, as an ASGI application."""

    async def facts(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(desk.facts))

    async def classify(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(desk.classify, await body(request, MOST_BYTES)))

    async def change(request: Request) -> Response:
        try:
            wish: Any = json.loads(await body(request, MOST_WORDS))
        except (ValueError, RecursionError) as error:
            raise UserError("the request is no JSON") from error
        return JSONResponse(await run_in_threadpool(desk.change, wish))

    def file(name: str) -> Route:
        return Route("/" if name == "page.html" else f"/{name}", lambda request: FileResponse(HERE / name))

    app = Starlette(
        routes=[
            *(file(name) for name in ("page.html", "page.css", "page.js")),
            Route("/api/model", facts),
            Route("/api/classify", classify, methods=["POST"]),
            Route("/api/classes", change, methods=["POST"]),
        ],
        exception_handlers={
            UserError: lambda request, error: JSONResponse({"error": str(error)}, 400),
            TooLarge: lambda request, error: JSONResponse({"error": str(error)}, 413),
        },
    )
    app.add_middleware(Guarded)
    return app


class Guarded:
    """Lets requests through that this machine's own page makes, and says what browsers may do with the answers."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = Request(scope)
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
            return await JSONResponse({"error": "this page is for this machine alone"}, 421)(scope, receive, send)
        if origin is not None and origin != f"http://{host}":
            return await JSONResponse({"error": "another site's page may not use this one"}, 403)(scope, receive, send)

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
            await send(message)

        await self.app(scope, receive, with_headers)


async def body(request: Request, most: int) -> bytes:
    """A request's body, read no further than the limit.

    Raises:
        TooLarge: it goes on.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLarge(f"this is more than {most // 1000:,} kB: give a smaller file")
        parts.append(part)
    return b"".join(parts)
