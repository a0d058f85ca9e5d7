from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from nodeset_provider.server import logs

TOKEN = "abc123.0123456789abcdef"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    target = io.StringIO()
    yield target
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_line_is_one_json_object_of_us_and_of_libraries_alike(stream: io.StringIO) -> None:
    logs.configure(level="info", format="json", stream=stream)
    structlog.get_logger("ours").info("launched", machine="big-x1abc", seconds=1.5)
    logging.getLogger("grpc._cython").warning("a library says %s", "this\nand that")
    ours, theirs = lines(stream)
    assert (ours["event"], ours["machine"], ours["seconds"], ours["level"]) == ("launched", "big-x1abc", 1.5, "info")
    assert ours["logger"] == "ours"
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"]) == ("a library says this\nand that", "warning")


def test_level_is_obeyed(stream: io.StringIO) -> None:
    logs.configure(level="warning", format="json", stream=stream)
    structlog.get_logger("ours").info("quiet")
    structlog.get_logger("ours").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_console_is_for_people_and_auto_is_json_without_a_terminal(stream: io.StringIO) -> None:
    logs.configure(level="info", format="console", stream=stream)
    structlog.get_logger("ours").info("launched", machine="m")
    assert "launched" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    stream.truncate(0)
    stream.seek(0)
    logs.configure(level="info", format="auto", stream=stream)
    structlog.get_logger("others").info("launched")
    assert lines(stream)[0]["event"] == "launched"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_reaches_the_log(stream: io.StringIO, form: logs.Format) -> None:
    logs.configure(level="debug", format=form, stream=stream)
    log = structlog.get_logger("ours")
    said = f"token {TOKEN} made"
    log.info(
        said,
        token="hush1",
        api_token="hush2",
        password="hush3",
        client_secret="hush11",
        userData="hush4",
        user_data=b"hush5",
    )
    log.info("nested", body={"data": {"password": "hush6"}, "list": [f"x {TOKEN}", ("Bearer hush7",)]})
    log.info("object", thing=type("T", (), {"__repr__": lambda _: f"T({TOKEN})"})())
    log.info("header", authorization="Bearer hush8", note="Authorization: Bearer hush9.abc-_")
    log.info("key", pem="-----BEGIN EC PRIVATE KEY-----\nhush10\n-----END EC PRIVATE KEY-----\nrest")
    logging.getLogger("lib").error("failed with %s", TOKEN)
    try:
        int(TOKEN)
    except ValueError:
        log.exception("went wrong")
        logging.getLogger("lib").exception("went wrong")
    text = stream.getvalue()
    assert "hush" not in text
    assert "0123456789abcdef" not in text
    assert logs.HIDDEN in text
    assert "abc123." in text
    assert "rest" in text


def test_what_is_no_secret_is_left_alone(stream: io.StringIO) -> None:
    logs.configure(level="info", format="json", stream=stream)
    fields = {
        "token_id": "abc123",
        "secret": "nodeset-provider/cloud",
        "client_token": "11111111-2222-3333-4444-555555555555",
        "key": "nodes/a",
        "secret_name": "cloud",
        "uid": "11111111-2222-3333-4444-555555555555",
        "node": "ip-10-0-0-1.eu-central-1.compute.internal",
        "none": None,
        "yes": True,
    }
    structlog.get_logger("ours").info("x", **fields)
    assert {name: lines(stream)[0][name] for name in fields} == fields
