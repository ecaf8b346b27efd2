"""`bayeskit run`: from a plan to a result on disk, a summary and a verdict."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeskit._keepable import KEPT
from bayeskit.cli.errors import BAD_VERDICT, UsageError
from bayeskit.cli.inputs import Inputs, read_inputs, show_table
from bayeskit.cli.methods import make_method
from bayeskit.cli.output import for_reader
from bayeskit.cli.plan import Plan
from bayeskit.cli.process import set_precision
from bayeskit.errors import BayeskitError, Interrupted, StorageError

if TYPE_CHECKING:
    import xarray as xr

    from bayeskit.inference import Method
    from bayeskit.program import Program


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
    from bayeskit.inference import infer

    if resume:
        return go_on(plan, compare=True, progress=progress)
    precision = set_precision(None if plan.precision is None else plan.precision == "float32")
    method = make_method(plan.method, plan.settings)
    _check_output(plan)
    loaded = read_inputs(plan)
    if not overwrite:
        _check_same_run(plan, loaded)
    return _carry_out(
        plan,
        loaded,
        _headline(plan, method, precision),
        lambda: infer(
            loaded.file.model,
            loaded.arguments,
            method,
            key=plan.key,
            store=plan.out,
            keep=plan.keep,
            thin=plan.thin,
            dims=loaded.labels("dims"),
            coords=loaded.labels("coords"),
            log_likelihood=plan.log_likelihood,
            discrete=plan.discrete,
            progress=progress and for_reader(),
        ),
    )


def go_on(plan: Plan, *, compare: bool, progress: bool, more: int | None = None) -> int:
    """Go on with the run of a plan, to its end or beyond it.

    Args:
        plan: the run.
        compare: whether the plan says what its method and key are, which are then compared with those of the run.
        progress: show the progress bar.
        more: how many more draws a chain, of a run that has ended.

    Returns:
        The exit code: 0, or 3 when the verdict is bad.
    """
    from bayeskit.inference import extend, resume

    kept = _record(plan)
    attrs = kept["attrs"]
    set_precision((plan.precision or attrs["float_dtype"]) == "float32")
    method = _method_again(plan, kept) if compare else None
    loaded = read_inputs(plan)

    def act() -> xr.DataTree:
        run = (loaded.file.model, loaded.arguments, plan.out)
        if more is None:
            return resume(*run, method=method, progress=progress)
        return extend(*run, num_draws=more, method=method, progress=progress)

    progress = progress and for_reader()
    total = attrs["num_draws"] + (more or 0)
    line = f"[bold]{plan.model}[/bold]  {attrs['method']}, {attrs['num_chains']} chains, to {total} draws"
    return _carry_out(plan, loaded, line, act)


def predict_from(plan: Plan, to: Path | None) -> None:
    """Add draws from the posterior predictive to the result of a plan, or write it with them to another file."""
    from bayeskit.cli.show import read_result, show_written

    if not plan.predictive:
        raise UsageError("say what to predict: --predictive NAME, an observed argument of the model")
    post = read_result(Path(plan.out))
    set_precision((plan.precision or post.attrs.get("float_dtype")) == "float32")
    loaded = read_inputs(plan)
    out = str(to or plan.out)
    _predict(plan, loaded, post, out)
    show_written("result", out)


def _carry_out(plan: Plan, loaded: Inputs, headline: str, act: Callable[[], xr.DataTree]) -> int:
    from bayeskit.cli.show import console, show_summary, show_verdict, show_written, write_report

    console.print(headline, soft_wrap=True)
    show_table(loaded)
    try:
        post = act()
    except Interrupted as stop:
        raise Interrupted(_how_to_go_on(plan, stop), stop.post, stop.store, stop.signal) from stop
    except BayeskitError as error:
        raise loaded.file.blame_cause(error) or error from error
    except Exception as error:
        raise loaded.file.blame(error) or error from error
    if plan.predictive:
        post = _predict(plan, loaded, post, plan.out)
    show_summary(post, sites=None, limit=20, source=plan.out)
    good = show_verdict(post)
    show_written("result", plan.out)
    if plan.report:
        write_report(post, Path(plan.report), loaded.file.model)
    return 0 if good else BAD_VERDICT


def _record(plan: Plan) -> dict[str, Any]:
    """What the run of a plan is: one under way, or one that has ended."""
    from bayeskit.storage.run_folder import check_state, partial_folder, read_record

    partial, out = partial_folder(plan.out), Path(plan.out)
    if not partial.exists():
        if not out.exists():
            raise StorageError(f"there is no run to go on with: neither {partial} nor {out} does exist")
        check_state(out)
    return read_record(partial if partial.exists() else out)


def _method_again(plan: Plan, kept: dict[str, Any]) -> Method:
    """The method of the plan, which `resume` compares; with the draws of a run that has been extended."""
    attrs = kept["attrs"]
    method = make_method(plan.method, plan.settings)
    if method.num_draws == kept.get("begun_with"):
        method = make_method(plan.method, {**plan.settings, "num_draws": attrs["num_draws"]})
    key, before = [0, plan.key], json.loads(attrs["key"])
    if plan.key < 2**32 and len(before) == 2 and before != key:
        raise UsageError(f"the run in {plan.out} has another key than {plan.key}")
    return method


def _predict(plan: Plan, loaded: Inputs, post: xr.DataTree, out: str) -> xr.DataTree:
    """The result with draws from the posterior predictive, written again."""
    import jax

    from bayeskit.inference import predict
    from bayeskit.storage import save

    unobserved = loaded.arguments | dict.fromkeys(plan.predictive)
    post = predict(loaded.file.model, unobserved, post, key=jax.random.fold_in(jax.random.key(plan.key), 1))
    save(post, out)
    return post


def _check_same_run(plan: Plan, loaded: Inputs) -> None:
    """Refuse to replace a result unless the same model made it from the same data."""
    from bayeskit.program import bind
    from bayeskit.storage.files import read_tree

    if not Path(plan.out).exists():
        return
    try:
        post = read_tree(Path(plan.out))
        program = bind(loaded.file.model, loaded.arguments)
    except BayeskitError:
        return  # both are told of where they are used
    if KEPT in post.attrs:
        raise StorageError(f"{plan.out} holds a {post.attrs['kind']}; name another with --out, or add --overwrite")
    what = _what_differs(plan, program, post)
    if what:
        raise StorageError(
            f"{plan.out} holds the result of another run ({what}; {post.attrs.get('model', 'of unknown origin')}, "
            f"{post.attrs.get('created_at', 'at an unknown time')}); name another with --out, or add --overwrite"
        )


def _what_differs(plan: Plan, program: Program, post: xr.DataTree) -> str:
    """What says that a result is one of another model or of other data; nothing where it is of these."""
    from bayeskit.inference.assemble import same_inputs
    from bayeskit.program.fingerprint import fingerprint, may_be_same
    from bayeskit.storage import site_values

    if post.attrs.get("model") != program.origin:
        return "another model"
    kept = {n: v for g in ("observed_data", "constant_data") for n, v in site_values(post, g, optional=True).items()}
    now = {name: np.asarray(value) for name, value in program.inputs.items() if name in kept}
    if not same_inputs({n: kept[n] for n in now}, now):
        return "other data"
    edited = not may_be_same(post.attrs.get("model_fingerprint"), fingerprint(program))
    return "" if not edited and _same_sites(plan, program, post) else "the model has been edited since"


def _same_sites(plan: Plan, program: Program, post: xr.DataTree) -> bool:
    """Whether the sites of a result are those of the model: two files may have one name, and a file is edited."""
    from numpyro import handlers

    try:
        trace = handlers.trace(handlers.seed(program, 0)).get_trace()
    except Exception:
        return True  # what is wrong is said where it is used
    free = {name: site for name, site in trace.items() if site["type"] == "sample" and not site["is_observed"]}
    made = {name for name, site in trace.items() if site["type"] == "deterministic"}
    continuous = {name for name, site in free.items() if not site["fn"].support.is_discrete}
    posterior = {str(name): value.attrs.get("site_kind") for name, value in post["posterior"].data_vars.items()}
    known = free.keys() | made | {f"{name}_probs" for name in free}
    return posterior.keys() <= known and (plan.keep is not None or continuous <= posterior.keys())


def _check_output(plan: Plan) -> None:
    from bayeskit.storage.files import check_replaceable
    from bayeskit.storage.run_folder import partial_folder

    check_replaceable(plan.out)
    partial = partial_folder(plan.out)
    if partial.exists():
        raise StorageError(f"{partial} holds an unfinished run: add --resume to go on with it, or delete it")
    if plan.report and not Path(plan.report).resolve().parent.is_dir():
        raise UsageError(f"cannot write the report {plan.report}: there is no such folder")


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
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if words[:1] == ["run"]:
        words.append("--resume")
    elif words[:1] == ["extend"]:
        at = next((i for i, word in enumerate(words) if word.startswith("--num-draws")), len(words))
        words = ["resume", *words[1:at], *words[at + (2 if words[at : at + 1] == ["--num-draws"] else 1) :]]
    command = shlex.join(["bayeskit", *words])
    draws = 0 if interruption.post is None else interruption.post["posterior"].sizes.get("draw", 0)
    return f"{draws} draws a chain are kept in {partial}; go on with: {command}"
