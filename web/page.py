"""The page: the files of web/static, the same for all visitors and without any of their data."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
PATHS = frozenset({"/"} | {f"/{path.relative_to(FOLDER).as_posix()}" for path in FOLDER.rglob("*") if path.is_file()})
"""Files served without a token; the page itself asks for it."""
POLICY = (
    "default-src 'self'; media-src 'self' blob:; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class Page(StaticFiles):
    """Serves the page's files, with headers that let it load scripts and media from this service alone."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-cache"
        return response


def page_routes() -> list[Route]:
    """A route per file of the page."""
    page = Page()
    return [Route(path, page, methods=["GET"]) for path in sorted(PATHS)]
