"""Hand-written guides, and those of NumPyro."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from numpyro import handlers

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.inference.batches import is_rows
from bayeskit.inference.model_parameters import fitted_names, is_parameter, transform_of
from bayeskit.inference.vi.guides.guide import Guide, Parameters
from bayeskit.program import Program
from bayeskit.program.runnable import Runnable
from bayeskit.target import Target
from bayeskit.target.given import pull_back

__all__ = ["Custom"]


@dataclass(frozen=True)
class Custom(Guide):
    """A hand-written guide: a NumPyro function of (some of) the model's arguments, with ``numpyro.param`` statements.

    It draws the latent sites of the model in the model's own coordinates.
    """

    kind: ClassVar[str] = "custom"

    function: Callable[..., object]

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        del position
        trace = handlers.trace(handlers.seed(self._bound(target), key)).get_trace()
        parameters: Parameters = {
            name: jax.tree.map(lambda leaf: jnp.asarray(leaf, float), transform_of(site).inv(site["value"]))
            for name, site in trace.items()
            if site["type"] == "param"
        }
        if shared := [name for name in parameters if name in fitted_names(target)]:
            raise ModelError(
                f"parameter {shared[0]!r} is in both the model and the guide {self._name!r}, which are fitted apart; "
                "give them different names"
            )
        if not parameters:
            raise ModelError(f"the guide {self._name!r} has no numpyro.param, so there is nothing to fit")
        return parameters

    def programs(self, parameters: Parameters, target: Target) -> tuple[Runnable, Runnable]:
        bound = self._bound(target)

        def guide(parameters: Parameters) -> object:
            def place(site: dict[str, Any]) -> Any:
                if site["type"] != "param" or site["name"] not in parameters:
                    return None
                return transform_of(site)(parameters[site["name"]])

            return handlers.substitute(bound, substitute_fn=place)()

        guide.__name__ = self._name
        return target.program, Program(guide, {"parameters": parameters}, ())  # so that it can be detached

    def position(self, choices: Values, target: Target) -> Array:
        latent = {name: choices[name] for name in target.latent_names}
        return target.ravel(pull_back(target.program, {}, latent)[0])

    @property
    def _name(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def _bound(self, target: Target) -> Callable[[], object]:
        """The function on those of the model's arguments that it takes."""
        given = {
            name: value for name, value in target.program.data.items() if not is_parameter(name) and not is_rows(name)
        }
        parameters = inspect.signature(self.function).parameters.values()
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            missing = [p.name for p in named if p.default is p.empty and p.name not in given]
            if missing:
                raise ModelError(f"the guide {self._name!r} takes {missing[0]!r}, which is not among the data")
            given = {p.name: given[p.name] for p in named if p.name in given}
        return lambda: self.function(**given)
