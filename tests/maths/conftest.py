from __future__ import annotations

import pytest

from nip_export.demo.example import Example, load_example


@pytest.fixture(scope="session")
def example() -> Example:
    return load_example()
