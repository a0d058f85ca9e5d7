from __future__ import annotations

import sys
from pathlib import Path

import pytest
from testbed.cluster import Cluster

sys.path.insert(0, str(Path(__file__).parent))

from certificates_lab import Lab


@pytest.fixture(scope="module")
def lab(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The cluster of this file: NodeSets of other tests are not touched."""
    return Lab(cluster, tmp_path_factory.mktemp("holders"))
