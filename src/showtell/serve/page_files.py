"""The page and its files, read once: nothing else of the disk can be requested."""

import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request, Response

from showtell.serve.problems import Problem

FOLDER = Path(__file__).parent / "page"


def page_routes() -> APIRouter:
    """Return the routes ``/`` and ``/static/NAME``."""
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}
    router = APIRouter(include_in_schema=False)

    def answer(request: Request, name: str) -> Response:
        if name not in files:
            raise Problem(404, "there is no such file", hint="The page is at /")
        content = files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
        return Response(content, media_type=kind or "application/octet-stream", headers=headers)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return answer(request, "index.html")

    @router.api_route("/static/{name}", methods=["GET", "HEAD"])
    async def static(request: Request, name: str) -> Response:
        return answer(request, name)

    return router
