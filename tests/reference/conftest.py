"""More XLA workers than chains: with as many, each can wait inside a Cholesky factorisation for another, forever."""

from __future__ import annotations

import os

os.environ.setdefault("PJRT_NPROC", "16")
