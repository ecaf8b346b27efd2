"""The `bayeskit` command: run a model file, read its result, make the report.

Nothing heavy is imported here or in `app`: ``bayeskit --help`` answers before JAX would have been imported.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; the console script and ``python -m bayeskit`` both end here."""
    from bayeskit.cli.app import app

    app(prog_name="bayeskit")
