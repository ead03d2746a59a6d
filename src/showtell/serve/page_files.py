"""The page, its files and the API's description, read once: nothing else of the disk can be requested."""

import hashlib
import mimetypes
from pathlib import Path
from typing import Any

import yaml
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from showtell.config.generation import DecodingOptions
from showtell.serve.problems import Problem
from showtell.version import __version__

_HERE = Path(__file__).parent
FOLDER = _HERE / "page"


def describe_api(*, keyed: bool) -> dict[str, Any]:
    """Return the OpenAPI document: ``openapi.yaml`` with the decoding options."""
    document: dict[str, Any] = yaml.safe_load((_HERE / "openapi.yaml").read_text(encoding="utf-8"))
    document["info"]["version"] = __version__
    if keyed:
        document["security"] = [{"bearer": []}, {"key": []}]
    schemas, operation = document["components"]["schemas"], document["paths"]["/v1/captions"]["post"]
    schemas["DecodingOptions"] = DecodingOptions.model_json_schema()
    flags = {name: schemas["JsonBody"]["properties"][name] for name in ("attention", "alternatives")}
    options = {**schemas["DecodingOptions"]["properties"], **flags}
    # The number of neighbours has the name of a part of the answer.
    number = options["neighbours"]
    meaning = f"{number['description']}; true: the similar images and their captions"
    options["neighbours"] = {"description": meaning, "anyOf": [number, {"type": "boolean"}]}
    operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"].update(options)
    operation["parameters"] += [
        {"name": name, "in": "query", "description": schema.get("description", ""), "schema": schema}
        for name, schema in options.items()
    ]
    return document


def page_routes(*, keyed: bool) -> APIRouter:
    """Return the routes of pages and files; ``keyed``: the API needs a key."""
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}
    files["api.css"] = (_HERE / "api.css").read_bytes()
    document = describe_api(keyed=keyed)
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    files["docs"] = environment.get_template("api.html").render(document).encode()
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"])
    @router.api_route("/docs", methods=["GET", "HEAD"])
    @router.api_route("/static/{name}", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        name = request.path_params.get("name", request.scope["path"][1:] or "index.html")
        if name not in files:
            raise Problem(404, "there is no such file", hint="The page is at /")
        content = files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
        return Response(content, media_type=kind or "text/html", headers=headers)

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(document)

    return router
