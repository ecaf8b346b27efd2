"""``numpyro.param`` statements of a model: parameters without a prior, which are fitted together with the guide.

The program is rewritten so that the unconstrained values of its parameters are data. A target then carries them as
leaves, and one with other values is the same target with these leaves replaced.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from numpyro.distributions import biject_to, constraints, transforms
from numpyro.primitives import Messenger

from bayeskit._typing import Array, Model, Values
from bayeskit.program import Program
from bayeskit.program.constants import settle
from bayeskit.target import Target
from bayeskit.target.sites import trace_at_zero

__all__ = [
    "constrained_parameters",
    "fitted_names",
    "is_parameter",
    "lift_parameters",
    "model_parameters",
    "transform_of",
    "with_parameters",
]

_PREFIX = "numpyro.param "
_FITTED = "fitted param"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter: its name, the structure of its value, and the names of its leaves among the data."""

    name: str
    structure: Any
    leaves: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Lifted:
    """A model whose parameters are among its arguments."""

    model: Model
    parameters: tuple[Parameter, ...]

    @property
    def __name__(self) -> str:
        return str(getattr(self.model, "__name__", type(self.model).__name__))

    def __call__(self, **given: Any) -> object:
        values = {name: given.pop(name) for name in list(given) if is_parameter(name)}
        with _Give(
            {p.name: jax.tree.unflatten(p.structure, [values[leaf] for leaf in p.leaves]) for p in self.parameters}
        ):
            return self.model(**given)


class _Give(Messenger):
    """Answers every ``numpyro.param``; for handlers around it is then a site of another type."""

    def __init__(self, unconstrained: dict[str, Any]):
        super().__init__(None)
        self._unconstrained = unconstrained

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "param" and msg["name"] in self._unconstrained:
            msg["value"], msg["type"] = transform_of(msg)(self._unconstrained[msg["name"]]), _FITTED


def lift_parameters(program: Program) -> Program:
    """The program with its parameters among its data, at their first values; itself where it has none."""
    found: list[str] = []

    def trace(program: Program) -> None:
        found.clear()
        jax.eval_shape(lambda p: found.extend(n for n, s in trace_at_zero(p).items() if s["type"] == "param"), program)

    try:
        program, _ = settle(program, trace)
    except Exception:  # whatever is wrong with the model is reported when its target is made
        return program
    if not found:
        return program
    arrays: dict[str, Array] = {}
    lifted = []
    for name, site in trace_at_zero(program).items():
        if name not in found:
            continue
        value = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), site["value"])
        leaves, structure = jax.tree.flatten(transform_of(site).inv(value))
        names = tuple(f"{_PREFIX}{name}" + (f" {i}" if len(leaves) > 1 else "") for i in range(len(leaves)))
        arrays |= dict(zip(names, leaves, strict=True))
        lifted.append(Parameter(name, structure, names))
    arrays = {**program.arrays, **arrays}
    return dataclasses.replace(program, model=Lifted(program.model, tuple(lifted)), arrays=arrays)


def is_parameter(name: str) -> bool:
    """Whether this name among the data of a program is that of a parameter."""
    return name.startswith(_PREFIX)


def model_parameters(target: Target) -> Values:
    """The unconstrained parameters of the model, by name among the data."""
    return {name: value for name, value in target.program.arrays.items() if is_parameter(name)}


def fitted_names(target: Target) -> tuple[str, ...]:
    """Names of the model's parameters."""
    model = target.program.model
    return tuple(p.name for p in model.parameters) if isinstance(model, Lifted) else ()


def with_parameters(target: Target, values: Values) -> Target:
    """The target at other values of the model's parameters."""
    if not values:
        return target
    return eqx.tree_at(lambda t: [t.program.arrays[name] for name in values], target, list(values.values()))


def constrained_parameters(target: Target, values: Values) -> dict[str, Array]:
    """Parameters in the model's own coordinates; the arrays of one that is a pytree are numbered."""
    out: dict[str, Array] = {}
    sites = trace_at_zero(with_parameters(target, values).program)
    for name in fitted_names(target):
        leaves = jax.tree.leaves(sites[name]["value"])
        out |= {f"{name} {i}" if len(leaves) > 1 else name: leaf for i, leaf in enumerate(leaves)}
    return out


def transform_of(site: dict[str, Any]) -> Any:
    """From the real line to a parameter's constraint; a network's parameters are a pytree without one."""
    constraint = site["kwargs"].get("constraint", constraints.real)
    return transforms.IdentityTransform() if constraint is constraints.real else biject_to(constraint)
