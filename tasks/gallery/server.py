"""The gallery's server: the JSON API and the pages, behind the guard."""

from collections.abc import Awaitable, Callable, Iterable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from storage.documents import DocumentError
from storage.roots import DamagedError, StoreError
from tasks.gallery import api, pages
from tasks.gallery.guard import Guard
from tasks.gallery.runs import Runs, UnableError, UnknownError

OPENAPI = "/api/openapi.json"


def application(runs: Runs, names: Iterable[str] = ()) -> ASGIApp:
    """The gallery of a root's runs, to be served by any ASGI server.

    Args:
        names: host names under which it is reached, beside localhost and addresses.
    """
    return Guard(unguarded(runs), names)


def unguarded(runs: Runs) -> FastAPI:
    """The routes alone, with their OpenAPI description."""
    # FastAPI's own pages of documentation fetch scripts from outside.
    app = FastAPI(title="TasteGraph", version="1", docs_url=None, redoc_url=None, openapi_url=OPENAPI)
    app.include_router(api.router(runs))
    app.include_router(pages.router(runs), include_in_schema=False)
    for kind, status in {
        UnknownError: 404,
        UnableError: 409,
        RequestValidationError: 422,
        HTTPException: 0,
        FileNotFoundError: 503,
        DamagedError: 503,
        DocumentError: 503,
        StoreError: 503,
    }.items():
        app.add_exception_handler(kind, _handler(status, runs))
    return app


def _handler(status: int, runs: Runs) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else status
        code = 422 if code == 400 else code  # a body whose bytes are no text
        text, nearest = str(error), getattr(error, "nearest", [])
        headers = None
        if isinstance(error, HTTPException):
            text, headers = f"{request.url.path}: {str(error.detail).lower()}", error.headers
        elif isinstance(error, RequestValidationError):
            text = "; ".join(
                f"{'.'.join(str(part) for part in item['loc'])}: {item['msg'].lower()}" for item in error.errors()
            )
        elif status == 503:  # deleted or damaged since it was opened
            runs.reopen()
            text = f"a file of this run cannot be read ({text}); look again in some seconds"
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": text, "nearest": nearest}, code, headers)
        return HTMLResponse(pages.problem(text, nearest, runs), code, headers)

    return answer
