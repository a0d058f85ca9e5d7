"""The NoCloud medium: an ISO 9660 image with what cloud-init reads at the first boot. Pure.

Format: cloud-init's documentation of the datasource NoCloud (a file system labelled ``cidata`` with ``meta-data`` and
``user-data``).
"""

from __future__ import annotations

import io
import json
from typing import Final

import pycdlib

_LABEL: Final = "cidata"
_ROCK_RIDGE: Final = "1.09"


def seed_image(*, instance_id: str, hostname: str, user_data: bytes) -> bytes:
    """The medium of one machine. ``instance_id`` is the token: another one is another first boot."""
    meta_data = json.dumps({"instance-id": instance_id, "local-hostname": hostname}).encode()  # JSON is YAML
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident=_LABEL, joliet=3, rock_ridge=_ROCK_RIDGE)
    try:
        for short, name, content in (("META", "meta-data", meta_data), ("USER", "user-data", user_data)):
            iso.add_fp(io.BytesIO(content), len(content), f"/{short}.;1", rr_name=name, joliet_path=f"/{name}")
        image = io.BytesIO()
        iso.write_fp(image)
        return image.getvalue()
    finally:
        iso.close()
