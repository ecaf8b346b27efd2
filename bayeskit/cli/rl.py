"""`bayeskit rl`: from a run file to learning curves on disk.

The keys of the file are the arguments of :func:`bayeskit.models.td_error.train` and ``out``. A loss may be a table with
its kind and settings, as may the noise of rewards, with the name of a NumPyro distribution::

    agent = "ppo"
    environment = "CartPole-v1"
    error = "generalized_gaussian"
    num_steps = 200_000
    num_seeds = 10
    out = "curves.zarr"

    [reward_noise]
    kind = "StudentT"
    df = 3.0

    [settings]
    learning_rate = 1e-3
"""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import INTERRUPTED, UsageError
from bayeskit.cli.plan import read_toml, result_of
from bayeskit.errors import MethodError, StorageError

__all__ = ["execute", "read_agent_file"]

_NEEDED = ("agent", "environment", "num_steps")


def read_agent_file(path: Path) -> dict[str, Any]:
    """The arguments of `train`, and ``out``.

    Raises:
        UsageError: no such file, not TOML, or a key that is missing or unknown.
        MethodError: an impossible loss or noise.
    """
    from bayeskit.models import td_error
    from bayeskit.models.td_error import ValueLoss

    content = read_toml(path)
    known = [name for name in inspect.signature(td_error.train).parameters if name not in ("checkpoint", "progress")]
    for name in content:
        if name not in (*known, "out"):
            raise UsageError(f"{path}: unknown key {name!r}{did_you_mean(name, [*known, 'out'], 'known:')}")
    for name in _NEEDED:
        if name not in content:
            raise UsageError(f"{path}: the key {name!r} is missing")
    if isinstance(content.get("error"), dict):
        content["error"] = ValueLoss.from_record(content["error"])
    if not isinstance(content.get("out", ""), str) or content.get("out") == "":
        raise UsageError(f"{path}: out must be a path, got {content['out']!r}")
    if "reward_noise" in content:
        content["reward_noise"] = _law(content["reward_noise"])
    return {"key": 0, "out": result_of(path), **content}


def execute(asked: dict[str, Any], *, plot: Path | None, overwrite: bool, progress: bool) -> int:
    """Train, write the result and say what came of it.

    Args:
        asked: as `read_agent_file` returns it.
        plot: where to draw the learning curve.
        overwrite: replace a result that is there.
        progress: show the progress bar.

    Returns:
        The exit code: 0, or 130 when it was interrupted.
    """
    from bayeskit.cli.show import console
    from bayeskit.models import td_error
    from bayeskit.storage import save
    from bayeskit.storage.files import check_replaceable

    arguments = dict(asked)
    out = Path(arguments.pop("out"))
    if out.exists() and not overwrite:
        raise StorageError(f"{out} is there already; --overwrite replaces it")
    check_replaceable(out)
    unfinished = out.with_name(f"{out.stem}.partial.zarr")
    curves = td_error.train(**arguments, checkpoint=unfinished, progress=progress)
    found = td_error.interquartile_mean(curves)
    for row in range(found.sizes["step"]):
        one = found.isel(step=row)
        console.print(
            f"{int(one['step']):>12,} steps: return {float(one['estimate']):10.2f}  "
            f"({float(one['lower']):.2f} to {float(one['upper']):.2f})"
        )
    if plot is not None:
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        td_error.plot_learning_curves({str(arguments["agent"]): curves}, figure.subplots())
        figure.savefig(plot, dpi=150)
    if curves["training"].sizes["step"] <= arguments.get("num_evaluations", _default("num_evaluations")):
        console.print(f"interrupted; {unfinished} has what is done, and the same command goes on")
        return INTERRUPTED
    save(curves, out)
    shutil.rmtree(unfinished, ignore_errors=True)
    console.print(f"written to {out}")
    return 0


def _default(name: str) -> Any:
    from bayeskit.models import td_error

    return inspect.signature(td_error.train).parameters[name].default


def _law(table: object) -> Any:
    """A NumPyro distribution from a table with its name and parameters.

    Raises:
        MethodError: an unknown one, or other parameters.
    """
    import numpyro.distributions as dist

    settings = dict(table) if isinstance(table, dict) else {"kind": table}
    kind = settings.pop("kind", None)
    law = getattr(dist, str(kind), None)
    if not (inspect.isclass(law) and issubclass(law, dist.Distribution)):
        raise MethodError(f"reward_noise.kind must name a distribution of NumPyro, such as 'StudentT'; got {kind!r}")
    try:
        return law(**settings)
    except (TypeError, ValueError, AttributeError) as error:
        raise MethodError(f"reward_noise: {kind} does not take {settings}: {error}") from None
