"""The simulated cloud of the testbed is at the same address after each start, with what it knew."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from testbed.simulated_cloud import SimulatedCloud


def _call(cloud: SimulatedCloud, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:  # noqa: ANN401
    request = urllib.request.Request(
        cloud.endpoint + path,
        method=method,
        data=json.dumps(body).encode() if body else None,
        headers={"Authorization": f"Bearer {token or cloud.token}", "Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        return json.load(response)


def test_killed_cloud_comes_back_with_what_it_knew(tmp_path: Path) -> None:
    with SimulatedCloud(tmp_path, tmp_path, settings={"quota": {"instances": 7}}) as cloud:
        endpoint = cloud.endpoint
        fault = {"kind": "error", "operation": "create", "count": 3, "message": "not today"}
        _call(cloud, "POST", "/admin/faults", fault)
        assert _call(cloud, "GET", "/admin/knobs")["quota"] == {"instances": 7}
        cloud.kill()
        with pytest.raises(urllib.error.URLError, match="refused"):
            _call(cloud, "GET", "/admin/faults")
        cloud.start()
        assert cloud.endpoint == endpoint
        assert [left["message"] for left in _call(cloud, "GET", "/admin/faults")["faults"].values()] == ["not today"]
    assert not cloud.process.running


def test_token_of_the_cloud_is_in_no_command_line(tmp_path: Path) -> None:
    with SimulatedCloud(tmp_path, tmp_path) as cloud:
        assert cloud.token not in Path(f"/proc/{cloud.process.pid}/cmdline").read_text()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            _call(cloud, "GET", "/v1/types", token="wrong")
