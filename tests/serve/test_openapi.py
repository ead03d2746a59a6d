"""The description of the API: it holds the options of Python, and the server keeps to it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main
from fastapi.routing import APIRoute
from tests.serve.servers import Running

from showtell.cli.main import app
from showtell.config.generation import DecodingOptions
from showtell.serve.app import Service, create_app
from showtell.serve.settings import build_settings

CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 413, 415, 422, 503, 504]

[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 408, 413, 415, 422, 503]

[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx", 503, 504]
"""
"""Random bytes are no image, options may exclude one another, and a request may allow itself a millisecond."""


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    described: dict[str, Any] = client.get("/openapi.json").json()
    return described


def test_http_has_the_names_defaults_and_bounds_of_python(
    document: dict[str, Any], client: httpx.Client
) -> None:
    wanted = DecodingOptions.model_json_schema()["properties"]
    operation = document["paths"]["/v1/captions"]["post"]
    query = {each["name"]: each["schema"] for each in operation["parameters"] if each.get("in") == "query"}
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    flags = {"attention", "alternatives"}
    assert query.keys() - flags == wanted.keys() == form.keys() - flags - {"images"}
    for name, schema in wanted.items():
        for given in (query[name], form[name]):
            assert given == schema or given["anyOf"][0] == schema
    assert document["components"]["schemas"]["DecodingOptions"]["properties"] == wanted
    assert client.get("/v1/model").json()["schema"]["properties"] == wanted
    assert client.get("/v1/model").json()["options"].keys() == wanted.keys()


def test_the_command_line_has_the_options_of_http_and_no_others(document: dict[str, Any]) -> None:
    command: Any = typer.main.get_command(app)
    names = {parameter.name for parameter in command.commands["caption"].params}
    # --greedy and --sample choose the method.
    assert DecodingOptions.model_fields.keys() - names == {"method"}
    assert {"greedy", "sample", "attention"} <= names


def test_bounds_are_the_same_over_http_as_in_python(client: httpx.Client) -> None:
    for name, schema in DecodingOptions.model_json_schema()["properties"].items():
        for bound, step in (("minimum", -1), ("maximum", 1), ("exclusiveMinimum", 0)):
            if bound in schema:
                value = schema[bound] + step
                answer = client.post("/v1/captions", content=b"x", params={name: value})
                assert answer.status_code == 422, (name, value)
                assert name in answer.json()["detail"]
                inside = schema[bound] if step else 0.01
                answer = client.post("/v1/captions", content=b"x", params={name: inside})
                assert name not in answer.json()["detail"] or "min_tokens" in answer.json()["detail"]


def test_every_route_is_described(document: dict[str, Any]) -> None:
    routes = create_app(Service(build_settings(checkpoint="x"))).routes
    assert {route.path for route in routes if isinstance(route, APIRoute)} == document["paths"].keys()


def test_the_page_of_the_api_needs_nothing_else(client: httpx.Client, document: dict[str, Any]) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for path in document["paths"]:
        assert path in page.text
    assert "no_repeat_ngram_size" in page.text
    assert "<script" not in page.text
    assert (
        "//"
        not in page.text.replace("http://HOST:PORT", "")
        .replace("data:image/png;base64", "")
        .split("</head>")[0]
    )
    assert client.get("/static/api.css").status_code == 200


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_schemathesis_finds_nothing(serving: Running, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(tmp_path / "schemathesis.toml"), "run"]
    options = [
        "--max-examples",
        "10",
        "--generation-deterministic",
        "--no-color",
        "--phases",
        "examples,coverage,fuzzing",
    ]
    done = subprocess.run(
        [*command, f"{serving.url}/openapi.json", *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
