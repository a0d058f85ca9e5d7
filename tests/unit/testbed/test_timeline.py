"""Timelines are read from what machines and the API server wrote, and from nothing else."""
# ruff: noqa: E501 -- a console's lines are as long as they are

import datetime as dt

from testbed import timeline
from testbed.timeline import Step

CONSOLE = """\
[    0.000000] Linux version 6.1.0-56-cloud-amd64
[   26.175701] cloud-init[326]: Cloud-init v. 22.4.2 running 'init-local' at Tue, 24 Nov 2026 23:44:30 +0000. Up 25.91 seconds.
vm-1 login: [   50.0] cloud-init[414]: Cloud-init v. 22.4.2 running 'modules:final' at Tue, 24 Nov 2026 23:44:54 +0000. Up 49.60 seconds.
[   54.9] cloud-init[414]: Cloud-init v. 22.4.2 finished at Tue, 24 Nov 2026 23:44:59 +0000. Datasource DataSourceNoCloud [seed=/dev/vdb][dsmode=net].  Up 54.79 seconds
[   59.011211] kubelet[457]: I1124 23:45:03.827836     457 server.go:545] "Kubelet version" kubeletVersion="v1.36.1"
[   60.000000] kubelet[457]: I1124 23:45:04.827836     457 server.go:547] "Golang settings"
"""
KERNEL = dt.datetime(2026, 11, 24, 23, 45, 3, 827836, tzinfo=dt.UTC).timestamp() - 59.011211


def _condition(kind: str, time: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": time, "lastUpdateTime": time}


def _request(name: str, signer: str, **spec: object) -> dict[str, object]:
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-11-24T23:45:04Z"},
        "spec": {"signerName": f"kubernetes.io/{signer}", **spec},
        "status": {"conditions": [_condition("Approved", "2026-11-24T23:45:05Z")]},
    }


def test_console_is_tied_to_the_time_of_day_by_the_kubelet() -> None:
    steps = timeline.of_console(CONSOLE, year=2026)
    assert [step.what for step in steps] == ["kernel", "cloud-init", "cloud-init finished", "kubelet"]
    assert [round(step.at - KERNEL, 2) for step in steps] == [0, 25.91, 54.79, 59.01]


def test_console_of_a_machine_without_kubelet_is_tied_by_cloud_init_within_a_second() -> None:
    steps = timeline.of_console(CONSOLE.partition("[   59")[0], year=2026)
    assert [step.what for step in steps] == ["kernel", "cloud-init", "cloud-init finished"]
    assert abs(steps[0].at - KERNEL) < 1


def test_console_that_names_no_time_says_nothing() -> None:
    assert timeline.of_console("[    0.000000] Linux version 6.1.0\nKernel panic", year=2026) == []


def test_requests_of_other_machines_are_left_out() -> None:
    machine = {
        "metadata": {"name": "web-a", "creationTimestamp": "2026-11-24T23:44:00Z"},
        "status": {
            "conditions": [
                _condition("Launched", "2026-11-24T23:44:01Z"),
                _condition("Initialized", "2026-11-24T23:44:00Z", "False"),
            ]
        },
    }
    node = {
        "metadata": {"name": "node-a", "creationTimestamp": "2026-11-24T23:45:06Z"},
        "status": {"conditions": [_condition("Ready", "2026-11-24T23:45:08Z")]},
    }
    requests = [
        _request("1", "kube-apiserver-client-kubelet", groups=["system:bootstrappers:nodeset:web-a"]),
        _request("2", "kube-apiserver-client-kubelet", groups=["system:bootstrappers:nodeset:web-b"]),
        _request("3", "kubelet-serving", username="system:node:web-a"),
    ]
    first = dt.datetime(2026, 11, 24, 23, 44, tzinfo=dt.UTC).timestamp()
    assert timeline.of_objects(machine, node, requests) == [
        Step(first, "created"),
        Step(first + 1, "launched"),
        Step(first + 64, "CSR (client)"),
        Step(first + 65, "CSR (client) approved"),
        Step(first + 66, "Node"),
        Step(first + 68, "Ready"),
    ]
    serving = [_request("3", "kubelet-serving", username="system:node:node-a")]
    assert Step(first + 64, "CSR (serving)") in timeline.of_objects(machine, node, serving)
    assert [step.what for step in timeline.of_objects(machine, None, serving)] == ["created", "launched"]


def test_table_counts_from_the_first_step_of_each_machine() -> None:
    text = timeline.table(
        {"a": [Step(100, "created"), Step(131.5, "Ready"), Step(140, "Ready")], "b": [Step(7, "created")], "c": []}
    )
    assert text.splitlines() == [
        "               a        b",
        "created      0.0      0.0",
        "Ready       31.5        -",
    ]
