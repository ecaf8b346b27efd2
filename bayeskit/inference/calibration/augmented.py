"""The model of two data sets with the same latent values: the given one, and one simulated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.primitives import Messenger

from bayeskit._typing import Model
from bayeskit.errors import DataError, ModelError
from bayeskit.inference.calibration.simulate import Simulator
from bayeskit.program import bind
from bayeskit.target import Target

__all__ = ["Augmented"]


class Augmented:
    r"""The program whose likelihood is :math:`p(y_\text{given} \mid x)\, p(y_\text{simulated} \mid x)`.

    With :math:`x` from :math:`p(x \mid y_\text{given})`, its posterior is what posterior calibration ranks among.

    Args:
        model: the NumPyro function.
        simulator: of the model, with the given data.

    Attributes:
        program: the program of both; simulated data are the argument ``simulated``.

    Raises:
        DataError: an observation was not given.
        ModelError: discrete latent sites, of which the two data sets would not share the value.
    """

    def __init__(self, model: Model, simulator: Simulator):
        if not simulator.is_given:
            names = ", ".join(simulator.arguments.values())
            raise DataError(f"around: the observations that the posterior is given ({names}) must be in data")
        if discrete := Target(simulator.program).structure.of_kind("discrete"):
            raise ModelError(
                f"around: site {discrete[0].name!r} is discrete and summed out, so two data sets cannot share it"
            )
        given = simulator.program.data
        observed = {name: given[name] for name in simulator.arguments.values()}
        settings = {name: value for name, value in given.items() if not isinstance(value, jax.Array)}
        arrays = {name: value for name, value in given.items() if isinstance(value, jax.Array)}

        def both(given: Mapping[str, Any], simulated: Mapping[str, Any]) -> None:
            with handlers.trace() as trace:
                model(**{**settings, **given, **simulated})
            latent = {n: s["value"] for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
            with _Renamed(), handlers.block(hide_fn=lambda site: not site.get("is_observed")):
                handlers.substitute(model, data=latent)(**settings, **given)

        both.__name__ = getattr(model, "__name__", type(model).__name__)
        self.program = bind(both, {"given": arrays, "simulated": observed})

    def arrays(self, simulated: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The argument that these simulated data are."""
        return {"simulated": {name: jnp.asarray(value) for name, value in simulated.items()}}


class _Renamed(Messenger):
    """Sites under another name, so that they can stand beside those of the simulated data."""

    def process_message(self, msg: Any) -> None:
        if "name" in msg:
            msg["name"] = f"given_{msg['name']}"
