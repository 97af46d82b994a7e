"""Shared set-up: everything the tests build goes to the project's own cache."""

import os
from pathlib import Path

from hypothesis import settings

os.environ.setdefault("RLU_CACHE_DIR", str(Path(__file__).resolve().parent.parent / ".cache"))

# One example can take long on a busy machine; how long is not what these tests are about.
settings.register_profile("rlu", deadline=None, derandomize=True)
settings.load_profile("rlu")
