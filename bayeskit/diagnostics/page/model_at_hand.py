"""The model behind a result, found again: its source, its sites, its priors as they are written."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import sys
import textwrap
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from numpyro import handlers
from numpyro.infer.inspect import get_model_relations

from bayeskit._typing import Data, Model
from bayeskit.errors import BayeskitError, ModelError
from bayeskit.program import Program, bind
from bayeskit.program.failure import Last, named_failures
from bayeskit.program.sites import describe, innermost
from bayeskit.program.tables import given
from bayeskit.storage import site_values

HOW = "bayeskit.report(post, path, model=model, data=data)"
_PREFIX = re.compile(r"\b(?:numpyro\.)?(?:distributions|dist)\.")


class SiteOfModel(NamedTuple):
    """A site as the model has it.

    Attributes:
        name: of the site.
        kind: ``"latent"``, ``"observed"`` or ``"deterministic"``.
        distribution: as it is written in the source, or as it is at one draw of the prior.
        depends_on: the sites that it is computed from.
        plates: the plates around it.
        shape: of its value.
    """

    name: str
    kind: str
    distribution: str
    depends_on: tuple[str, ...]
    plates: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelAtHand:
    """A model with its data, or the reason why there is none.

    Attributes:
        program: the model with its data.
        sites: in the order of the model.
        source: its code; empty where that cannot be had.
        about: its docstring, and that of its file.
        missing: why there is no program.
    """

    program: Program | None = None
    sites: tuple[SiteOfModel, ...] = field(default=())
    source: str = ""
    about: str = ""
    missing: str = ""

    @property
    def priors(self) -> dict[str, str]:
        """The priors by site, as they are written; of a model that is not at hand, by its source alone."""
        found = {site.name: site.distribution for site in self.of_kind("latent")}
        return found or _written(self.source)

    def of_kind(self, kind: str) -> list[SiteOfModel]:
        """Its sites of a kind."""
        return [site for site in self.sites if site.kind == kind]


def find_model(tree: xr.DataTree, model: Model | None, data: Data | None) -> ModelAtHand:
    """The model of a result: the one that is given, or the function of that name that has been imported.

    Raises:
        ModelError: the model that is given is not that of the result.
        DataError: the data that are given are not those of the model.
    """
    if model is None and data is not None:
        raise ModelError("data= are the arguments of model=, which is not given")
    if "posterior" not in tree.children:
        return ModelAtHand()
    found = model if model is not None else _imported(str(tree.attrs.get("model", "")))
    kept = str(tree.attrs.get("formula_source", ""))
    if found is None:
        return ModelAtHand(source=kept, missing=f"The model itself is not at hand; {HOW} puts it here.")
    found, data = _of_table(found, data, tree)
    source, about = kept or source_of(found), about_of(found)
    try:
        program = bind(found, data) if data is not None or isinstance(found, Program) else _bound(found, tree)
        sites = _sites(program, source, set(site_values(tree, "observed_data", optional=True)))
        _check_same(sites, tree, str(getattr(found, "__name__", "model")))
    except BayeskitError as error:
        if model is not None and not (data is None and not isinstance(error, ModelError)):
            raise
        if model is None and isinstance(error, ModelError):
            return ModelAtHand(missing=f"The model is not at hand as it was fitted: {error}. {HOW} puts it here.")
        return ModelAtHand(
            source=source, about=about, missing=f"The data of the model are not in the result ({error}): {HOW}."
        )
    return ModelAtHand(program, sites, source, about)


def _of_table(model: Any, data: Data | None, tree: xr.DataTree) -> tuple[Any, Data | None]:
    """The function and its arguments where a table was given, or the model is made for tables, such as a formula."""
    if data is not None:
        record = {str(name): value for name, value in tree.attrs.items()}
        made = given(model, data, record if "encoding" in record else None)
        return made.model, made.data
    return (model.function if hasattr(model, "for_table") else model), None


def _imported(origin: str) -> Model | None:
    module, _, name = origin.rpartition(".")
    found = getattr(sys.modules.get(module), name, None) if module and name.isidentifier() else None
    return found if callable(found) else None


def _bound(model: Model, tree: xr.DataTree) -> Program:
    """The model with the arguments that the result holds."""
    kept = site_values(tree, "constant_data", optional=True)
    observed = site_values(tree, "observed_data", optional=True)
    parameters = inspect.signature(model).parameters.values()
    names = [one.name for one in parameters]
    found = {n: _plain(v) for n, v in {**kept, **observed}.items() if n in names}
    lacking = [one.name for one in parameters if one.name not in found and one.default is inspect.Parameter.empty]
    others = [value for name, value in observed.items() if name not in names]
    if len(lacking) == len(others) == 1:  # an argument that is observed at a site of another name
        found[lacking[0]] = others[0]
    program = bind(model, found)
    left = {name: value for name, value in observed.items() if name not in found}
    return program if not left else bind(handlers.condition(model, data=left), found)


def _plain(value: np.ndarray) -> object:
    return value.item() if value.ndim == 0 and value.dtype.kind in "biuU" else value


def _check_same(sites: tuple[SiteOfModel, ...], tree: xr.DataTree, name: str) -> None:
    drawn = {
        str(variable.attrs.get("site_name", key)): variable.shape[2:]
        for key, variable in tree["posterior"].data_vars.items()
        if variable.attrs.get("site_kind", "latent") == "latent"
    }
    shapes = {site.name: site.shape for site in sites}
    for site, shape in drawn.items():
        if site not in shapes:
            raise ModelError(f"{name!r} has no site {site!r}, of which the result has draws; is it another model?")
        if shapes[site] != shape:
            raise ModelError(f"site {site!r} has shape {shapes[site]} in {name!r}, and {shape} in the result")


# ---------------------------------------------------------------- its sites


def _sites(program: Program, source: str, observed: set[str]) -> tuple[SiteOfModel, ...]:
    watch = Last(program)
    with named_failures(program, [watch]):
        trace: dict[str, Any] = handlers.trace(handlers.seed(watch, jax.random.PRNGKey(0))).get_trace()
    written, depends = _written(source), _depends_on(program)
    found: list[SiteOfModel] = []
    for name, site in trace.items():
        if site["type"] not in ("sample", "deterministic") or site.get("infer", {}).get("is_auxiliary"):
            continue
        plates = tuple(frame.name for frame in site["cond_indep_stack"])
        parents = depends.get(name, ())
        if site["type"] == "deterministic":
            found.append(SiteOfModel(name, "deterministic", "", parents, plates, np.shape(site["value"])))
            continue
        kind = "observed" if site["is_observed"] or name in observed else "latent"
        text = written.get(name) or _as_drawn(site["fn"], bool(parents))
        found.append(SiteOfModel(name, kind, text, parents, plates, np.shape(site["value"])))
    return tuple(found)


def _depends_on(program: Program) -> dict[str, tuple[str, ...]]:
    with contextlib.suppress(Exception):  # it does not know loops, and is an ornament
        return {n: tuple(p) for n, p in get_model_relations(program)["sample_sample"].items()}
    return {}


def _written(source: str) -> dict[str, str]:
    """The distributions as the source has them, by site."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:
        return {}
    return {
        str(call.args[0].value): _PREFIX.sub("", ast.unparse(call.args[1]))
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and len(call.args) > 1 and _is_sample(call.func)
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def _is_sample(function: ast.expr) -> bool:
    return (getattr(function, "attr", None) or getattr(function, "id", None)) == "sample"


def _as_drawn(distribution: Any, has_parents: bool) -> str:
    """The name of a distribution, with its parameters where they are single numbers that nothing decides."""
    inner = innermost(distribution)
    values = {n: np.asarray(getattr(inner, n, np.nan)) for n in getattr(inner, "arg_constraints", {})}
    alone = {n: v.ravel() for n, v in values.items() if v.size and (v == v.ravel()[0]).all()}
    if has_parents or len(alone) != len(values) or not values:
        return describe(distribution)
    return f"{describe(distribution)}({', '.join(f'{n}={v[0]:.4g}' for n, v in alone.items())})"


# ---------------------------------------------------------------- its text


def _unwrapped(model: Any) -> Any:
    """The function within handlers, partial functions and programs."""
    while True:
        inner = getattr(model, "fn", None) or getattr(model, "func", None)
        inner = model.model if isinstance(model, Program) else inner
        if not callable(inner):
            return model
        model = inner


def source_of(model: Any) -> str:
    """The code of a model: its attribute ``source``, or what Python knows of it; empty where that is nothing."""
    for one in (model, _unwrapped(model)):
        text = getattr(one, "source", None)
        if isinstance(text, str) and text.strip():
            return text
    with contextlib.suppress(OSError, TypeError):
        return textwrap.dedent(inspect.getsource(_unwrapped(model)))
    return ""


def about_of(model: Any) -> str:
    """What a model says of itself, and where it is the ``model`` of a file of its own, what the file says."""
    function = _unwrapped(model)
    texts = [inspect.getdoc(function) or ""] if inspect.isroutine(function) else []
    module = sys.modules.get(getattr(function, "__module__", ""))
    if getattr(function, "__name__", "") == "model" and module is not None and module.__name__ != "__main__":
        texts.insert(0, inspect.cleandoc(module.__doc__ or ""))
    return "\n\n".join(text for text in texts if text)
