"""The page itself: the files of web/static, the same for all visitors and without anything of theirs."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
PATHS = frozenset({"/"} | {f"/{path.relative_to(FOLDER).as_posix()}" for path in FOLDER.rglob("*") if path.is_file()})
"""What of it can be asked for, by whomever: it asks for the service's token itself."""
POLICY = (
    "default-src 'self'; media-src 'self' blob:; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class Page(StaticFiles):
    """Serves them. What runs in them, and what they show, comes from this service alone."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Cache-Control"] = "no-cache"
        return response


def page_routes() -> list[Route]:
    """One for each of its files."""
    page = Page()
    return [Route(path, page, methods=["GET"]) for path in sorted(PATHS)]
