"""The image is named after what goes into it, and is there only when it is whole. No image is built here."""

import shutil
from pathlib import Path

import pytest
from testbed import node_image
from testbed.binaries import Assets
from testbed.node_image import SOURCE, NodeImage


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    paths = {name: tmp_path / name for name in ("kubelet", "kubeadm")}
    for path in paths.values():
        path.write_text("a program")
    return Assets(paths)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    copy = tmp_path / "node-image"
    shutil.copytree(SOURCE, copy)
    monkeypatch.setattr(node_image, "SOURCE", copy)
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def _built(assets: Assets, environment: dict[str, str]) -> NodeImage:
    folder = Path(environment["XDG_CACHE_HOME"]) / "nodeset-provider/node-image" / node_image._content(assets)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"kernelCommandLine": "root=LABEL=node"}')
    return NodeImage(folder)


def test_image_is_found_while_nothing_has_changed(assets: Assets, environment: dict[str, str]) -> None:
    assert node_image.located(assets, environment) is None
    image = _built(assets, environment)
    assert node_image.located(assets, environment) == image
    assert image.command_line.startswith("root=LABEL=node ")


@pytest.mark.parametrize("what", ["kubelet", "node-image/packages.txt", "node-image/rootfs/etc/cloud/cloud.cfg"])
def test_image_of_other_content_is_another_image(
    assets: Assets, environment: dict[str, str], tmp_path: Path, what: str
) -> None:
    _built(assets, environment)
    with (tmp_path / what).open("a") as file:
        file.write("\n")
    assert node_image.located(assets, environment) is None


def test_image_without_its_manifest_is_not_there(assets: Assets, environment: dict[str, str]) -> None:
    (_built(assets, environment).folder / "manifest.json").unlink()
    assert node_image.located(assets, environment) is None
