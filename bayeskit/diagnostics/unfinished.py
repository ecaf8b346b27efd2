"""A run that has not ended."""

from __future__ import annotations

import xarray as xr

from bayeskit.diagnostics.verdict import Finding


def unfinished(post: xr.DataTree) -> list[Finding]:
    """Draws that were read while the run was under way, or after it was stopped."""
    if "unfinished" not in post.attrs:
        return []
    drawn, wanted = int(post.attrs["num_draws"]), int(post.attrs["num_draws_wanted"])
    return [
        Finding(
            "unfinished",
            "warning",
            (),
            float(drawn),
            float(wanted),
            f"The run has not ended: these are {drawn} of {wanted} draws a chain.",
            "wait for the rest; or, if the run was stopped, go on with it by bayeskit.resume(model, data, path), or "
            "bayeskit run ... --resume.",
        )
    ]
