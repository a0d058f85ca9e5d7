"""The NoCloud medium holds byte for byte what the machine is to read."""

import io
import json

import pycdlib
from hypothesis import given, settings
from hypothesis import strategies as st
from nodeset_driver_libvirt.seed import seed_image


def read(image: bytes, path: str, kind: str) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    content = io.BytesIO()
    iso.get_file_from_iso_fp(content, **{kind: path})
    iso.close()
    return content.getvalue()


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=5000), st.text(max_size=63))
def test_user_data_and_meta_data_come_back(user_data: bytes, hostname: str) -> None:
    image = seed_image(instance_id="token", hostname=hostname, user_data=user_data)
    for kind in ("rr_path", "joliet_path"):
        assert read(image, "/user-data", kind) == user_data
        assert json.loads(read(image, "/meta-data", kind)) == {"instance-id": "token", "local-hostname": hostname}


def test_medium_has_the_label_that_cloud_init_looks_for() -> None:
    image = seed_image(instance_id="t", hostname="h", user_data=b"#cloud-config\n")
    assert image[0x8001:0x8006] == b"CD001"
    assert image[0x8028:0x8048].decode().strip() == "cidata"


def test_large_user_data_fits() -> None:
    content = b"x" * (4 << 20)
    assert read(seed_image(instance_id="t", hostname="h", user_data=content), "/user-data", "rr_path") == content


def test_media_of_one_machine_have_one_size() -> None:
    """Two processes may write it at once, and each writes all of it."""
    sizes = {len(seed_image(instance_id="t", hostname="h", user_data=b"same")) for _ in range(2)}
    assert len(sizes) == 1
