from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from documentation_pages import ROOT, Pages


@pytest.fixture(scope="session")
def pages() -> Pages:
    return Pages(ROOT)
