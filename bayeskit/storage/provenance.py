"""Where a result comes from: versions, time, machine."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping

import jax

__all__ = ["provenance"]


MASKS = "log_likelihood_masks"
"""The attribute of a result that says which observations are masked, where some are."""


def provenance(libraries: Mapping[str, str] | None = None) -> dict[str, str]:
    """Attributes that every result has: see the table in docs/design.md.

    Args:
        libraries: versions of further libraries that had a part in it.
    """
    import numpyro

    import bayeskit

    versions = {"python": platform.python_version(), "bayeskit": bayeskit.__version__}
    versions |= {"jax": jax.__version__, "numpyro": numpyro.__version__}
    return {
        "bayeskit_version": bayeskit.__version__,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": json.dumps({**(libraries or {}), **versions}),
        "device": jax.default_backend(),
        "float_dtype": str(jax.numpy.result_type(float)),
    }
