"""The description of the API: it holds the options of Python, and the server keeps to it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main
from fastapi.routing import APIRoute
from tests.serve.servers import Running, picture

from showtell.cli.main import app
from showtell.config.generation import DecodingOptions
from showtell.errors import ConfigError
from showtell.inference.captioner import Captioner
from showtell.serve.app import Service, create_app
from showtell.serve.problems import problem_of
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

WITH_IMAGES = """
import base64
import schemathesis
from hypothesis import strategies

IMAGE = {image!r}
TEXT = "data:image/png;base64," + base64.b64encode(IMAGE).decode()
schemathesis.openapi.format("binary", strategies.just(IMAGE))
schemathesis.openapi.media_type("image/*", strategies.just(IMAGE))
schemathesis.openapi.media_type("application/octet-stream", strategies.just(IMAGE))


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict):
        if "image" in body:
            body["image"] = TEXT
        if "images" in body:
            body["images"] = [TEXT] * len(body["images"])
        if "messages" in body:
            body["messages"].append({{"content": [{{"type": "image_url", "image_url": {{"url": TEXT}}}}]}})
    return body
"""
"""Images in place of random text, so that answers with captions are compared with the description too."""


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
    assert all(each["description"] for each in operation["parameters"] if each.get("in") == "query")
    assert query.keys() - flags == wanted.keys() == form.keys() - flags - {"images"}
    for name, schema in wanted.items():
        for given in (query[name], form[name]):
            assert given == schema or given["anyOf"][0] == schema
    assert document["components"]["schemas"]["DecodingOptions"]["properties"] == wanted
    assert client.get("/v1/model").json()["schema"]["properties"] == wanted
    assert client.get("/v1/model").json()["options"].keys() == wanted.keys()


def test_each_answer_is_described_by_its_own_text(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            described = [answer["description"] for answer in operation["responses"].values()]
            assert all(isinstance(text, str) for text in described)
            assert len(set(described)) == len(described)


def test_the_command_line_has_the_options_of_http_without_defaults_of_its_own() -> None:
    command: Any = typer.main.get_command(app)
    options = {parameter.name: parameter.default for parameter in command.commands["caption"].params}
    # --greedy and --sample choose the method.
    assert DecodingOptions.model_fields.keys() - options.keys() == {"method"}
    assert {"greedy", "sample", "attention"} <= options.keys()
    assert {options[name] for name in DecodingOptions.model_fields.keys() - {"method"}} == {None}


def out_of_bounds() -> Iterator[tuple[str, Any, Any]]:
    """Each option with a value beyond one of its bounds, and the nearest that is not."""
    for name, schema in DecodingOptions.model_json_schema()["properties"].items():
        for bound, step in (
            ("minimum", -1),
            ("maximum", 1),
            ("exclusiveMinimum", 0),
            ("exclusiveMaximum", 0),
        ):
            if bound in schema:
                yield name, schema[bound] + step, schema[bound] if step else 0.01
        if "enum" in schema:
            yield name, "other", schema["enum"][0]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "beyond", "within"), list(out_of_bounds()))
def test_bounds_and_their_errors_are_the_same_over_http_in_python_and_on_the_command_line(
    client: httpx.Client,
    offline: Captioner,
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    beyond: Any,
    within: Any,
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(picture(1))
    with pytest.raises(ConfigError) as in_python:
        offline.caption(image, **{name: beyond})
    expected = problem_of(in_python.value)
    for request in (
        {"params": {name: beyond}, "content": picture(1)},
        {"data": {name: beyond}, "files": {"images": ("a", picture(1))}},
        {"json": {"image": base64.b64encode(picture(1)).decode(), "options": {name: beyond}}},
    ):
        answer = client.post("/v1/captions", **request)
        detail = answer.json()["detail"].replace(f"'{beyond}'", str(beyond))  # a query and a form are text
        assert (answer.status_code, detail) == (422, expected.detail.replace(f"'{beyond}'", str(beyond)))
    answer = client.post("/v1/captions", content=b"x", params={name: within})
    detail = answer.json()["detail"]
    # A value within its own bounds may still contradict another option.
    contradicts = any(reason in detail for reason in ("min_tokens", "conflicting", "no multiple"))
    assert name not in detail or contradicts
    if not isinstance(beyond, str):  # choices are typer's
        command: Any = typer.main.get_command(app)
        arguments = ["caption", str(tiny_checkpoint("attention")), str(image), "--device", "cpu"]
        option = f"--{name.replace('_', '-')}={beyond}"
        with pytest.raises(ConfigError) as on_command_line:
            command.main([*arguments, option], standalone_mode=False)
        assert problem_of(on_command_line.value).detail == expected.detail


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


@pytest.mark.thorough
@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
@pytest.mark.parametrize("mode", ["all", "positive"])
@pytest.mark.parametrize("count", ["10", pytest.param("200", marks=pytest.mark.slow)])
def test_schemathesis_finds_nothing(serving: Running, tmp_path: Path, mode: str, count: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    (tmp_path / "with_images.py").write_text(WITH_IMAGES.format(image=picture(1)))
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(tmp_path / "schemathesis.toml"), "run"]
    options = ["--max-examples", count, "--generation-deterministic", "--no-color", "--mode", mode]
    phases = ["--phases", "examples,coverage,fuzzing" if count == "200" else "examples,fuzzing"]
    hooks = {"SCHEMATHESIS_HOOKS": "with_images", "PYTHONPATH": str(tmp_path)} if mode == "positive" else {}
    done = subprocess.run(
        [*command, f"{serving.url}/openapi.json", *options, *phases],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **hooks},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
