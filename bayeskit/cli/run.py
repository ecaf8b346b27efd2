"""`bayeskit run`: from a plan to a result on disk, a summary and a verdict."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayeskit._keepable import KEPT
from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import BAD_VERDICT, UsageError
from bayeskit.cli.methods import make_method
from bayeskit.cli.modelfile import ModelFile, load_model
from bayeskit.cli.plan import Plan
from bayeskit.cli.process import set_precision
from bayeskit.errors import BayeskitError, DataError, Interrupted, StorageError

if TYPE_CHECKING:
    import xarray as xr

    from bayeskit.inference import Method


def execute(plan: Plan, *, resume: bool, progress: bool, overwrite: bool = False) -> int:
    """Carry out a plan.

    While it runs, the draws are kept in `<out>.partial`; the result appears under its own name when it is complete.

    Args:
        plan: what to run.
        resume: go on with the unfinished run in `<out>.partial`.
        progress: show the progress bar.
        overwrite: replace a result that another model or other data made.

    Returns:
        The exit code: 0, or 3 when the verdict is bad.
    """
    from bayeskit.cli.show import console, show_summary, show_verdict, write_report

    precision = set_precision(None if plan.precision is None else plan.precision == "float32")
    method = make_method(plan.method, plan.settings)
    _check_output(plan, resume)
    file = load_model(plan.model)
    columns, source = _columns(plan.data)
    arguments = file.arguments(columns, source)
    if not overwrite:
        _check_same_run(plan, file, arguments)
    _check_predictive(plan, arguments)
    console.print(_headline(plan, method, precision), soft_wrap=True)
    try:
        post = _sample(plan, file, arguments, columns, source, method, resume=resume, progress=progress)
    except Interrupted as interruption:
        raise Interrupted(_how_to_go_on(plan, interruption), interruption.post, interruption.store) from interruption
    except BayeskitError as error:
        raise file.blame_cause(error) or error from error
    except Exception as error:
        raise file.blame(error) or error from error
    if plan.predictive:
        post = _predict(plan, file, arguments, post)
    show_summary(post, sites=None, limit=20, source=plan.out)
    good = show_verdict(post)
    console.print(f"result  {plan.out}", soft_wrap=True)
    if plan.report:
        write_report(post, Path(plan.report))
    return 0 if good else BAD_VERDICT


def _sample(
    plan: Plan,
    file: ModelFile,
    arguments: dict[str, object],
    columns: dict[str, object],
    source: str,
    method: Method,
    *,
    resume: bool,
    progress: bool,
) -> xr.DataTree:
    from bayeskit.inference import infer
    from bayeskit.inference import resume as go_on

    if resume:
        return go_on(file.model, arguments, plan.out, progress=progress)
    return infer(
        file.model,
        arguments,
        method,
        key=plan.key,
        store=plan.out,
        keep=plan.keep,
        thin=plan.thin,
        dims=file.labels("dims", columns, source),
        coords=file.labels("coords", columns, source),
        log_likelihood=plan.log_likelihood,
        discrete=plan.discrete,
        progress=progress,
    )


def _predict(plan: Plan, file: ModelFile, arguments: dict[str, object], post: xr.DataTree) -> xr.DataTree:
    """The result with draws from the posterior predictive, written again."""
    import jax

    from bayeskit.inference import predict
    from bayeskit.storage import save

    unobserved = {**arguments, **dict.fromkeys(plan.predictive)}
    post = predict(file.model, unobserved, post, key=jax.random.fold_in(jax.random.key(plan.key), 1))
    save(post, plan.out)
    return post


def _columns(data: str | dict[str, object] | None) -> tuple[dict[str, object], str]:
    """The raw data by name, and what to call them in a message."""
    if data is None:
        return {}, "no data were given, so the table"
    if isinstance(data, dict):
        return {name: _inline(name, value) for name, value in data.items()}, "the [data] table"
    from bayeskit.storage import read_data

    return dict(read_data(data)), data


def _inline(name: str, value: object) -> object:
    if not isinstance(value, list):
        return value
    try:
        return np.array(value)
    except ValueError as error:
        raise DataError(f"data.{name} is not a rectangular array: {error}") from error


def _check_same_run(plan: Plan, file: ModelFile, arguments: dict[str, object]) -> None:
    """Refuse to replace a result unless the same model made it from the same data."""
    from bayeskit.inference.assemble import same_inputs
    from bayeskit.program import bind
    from bayeskit.storage import site_values
    from bayeskit.storage.files import read_tree

    if not Path(plan.out).exists():
        return
    try:
        post = read_tree(Path(plan.out))
        program = bind(file.model, arguments)
    except BayeskitError:
        return  # both are told of where they are used
    if KEPT in post.attrs:
        raise StorageError(f"{plan.out} holds a {post.attrs['kind']}; name another with --out, or add --overwrite")
    kept = {n: v for g in ("observed_data", "constant_data") for n, v in site_values(post, g, optional=True).items()}
    now = {name: np.asarray(value) for name, value in program.inputs.items() if name in kept}
    if post.attrs.get("model") == program.origin and same_inputs({n: kept[n] for n in now}, now):
        return
    raise StorageError(
        f"{plan.out} holds the result of another run ({post.attrs.get('model', 'of unknown origin')}, "
        f"{post.attrs.get('created_at', 'at an unknown time')}); name another with --out, or add --overwrite"
    )


def _check_output(plan: Plan, resume: bool) -> None:
    from bayeskit.storage.files import check_replaceable
    from bayeskit.storage.run_folder import partial_folder

    check_replaceable(plan.out)
    partial = partial_folder(plan.out)
    if partial.exists() and not resume:
        raise StorageError(f"{partial} holds an unfinished run: add --resume to go on with it, or delete it")
    if resume and not partial.exists():
        raise StorageError(f"there is no unfinished run to resume: {partial} does not exist")
    if plan.report and not Path(plan.report).resolve().parent.is_dir():
        raise UsageError(f"cannot write the report {plan.report}: there is no such folder")


def _check_predictive(plan: Plan, arguments: dict[str, object]) -> None:
    for name in plan.predictive:
        if name not in arguments:
            raise UsageError(
                f"predictive: the model is given no argument {name!r}{did_you_mean(name, list(arguments), 'known:')}"
            )


def _headline(plan: Plan, method: Method, precision: str) -> str:
    import jax

    device = jax.devices()[0]
    backend = f" ({method.library})"
    return (
        f"[bold]{plan.model}[/bold]  {type(method).__name__}{backend}, {method.num_chains} chains of "
        f"{method.num_warmup} + {method.num_draws} steps, {precision} on {device.platform}"
    )


def _how_to_go_on(plan: Plan, interruption: Interrupted) -> str:
    from bayeskit.storage.run_folder import partial_folder

    partial = partial_folder(plan.out)
    if not partial.exists():
        return "nothing was drawn yet, nothing is kept"
    command = shlex.join(["bayeskit", *(word for word in sys.argv[1:] if word != "--resume"), "--resume"])
    draws = 0 if interruption.post is None else interruption.post["posterior"].sizes.get("draw", 0)
    return f"{draws} draws a chain are kept in {partial}; go on with: {command}"
