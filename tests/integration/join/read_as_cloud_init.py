"""Run by the Python that cloud-init is installed in: prints as JSON what cloud-init's own code reads in user-data.

``python3 read_as_cloud_init.py USER_DATA_FILE``. Changes nothing on the machine: nothing of it is applied.
"""

import base64
import json
import sys

from cloudinit import helpers, user_data, util
from cloudinit.config.cc_write_files import canonicalize_extraction, extract_contents

CLOUD_CONFIG = "text/cloud-config"


def main() -> None:
    with open(sys.argv[1], "rb") as file:  # noqa: PTH123
        message = user_data.UserDataProcessor(helpers.Paths({"cloud_dir": "/nonexistent"})).process(file.read())
    config, others = {}, []
    for part in message.walk():
        if user_data.is_skippable(part):
            continue
        payload = util.fully_decoded_payload(part)
        if part.get_content_type() == CLOUD_CONFIG:
            config.update(util.load_yaml(payload))
        else:
            others.append([part.get_content_type(), encoded(payload)])
    files = {}
    for entry in config.pop("write_files", []):
        content = extract_contents(entry.get("content", ""), canonicalize_extraction(entry.get("encoding")))
        files[entry["path"]] = encoded(content)
    script = util.shellify(config["runcmd"]) if "runcmd" in config else ""
    json.dump({"config": config, "files": files, "script": script, "others": others}, sys.stdout)


def encoded(content: "str | bytes") -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


main()
