"""`log_density`: the log density of a program at given values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.primitives import Messenger

from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.program.execution import at, current_level, is_executing
from bayeskit.program.isolation import Wall
from bayeskit.program.runnable import Runnable, WeightedProgram, at_a_level, name_of_program
from bayeskit.program.shapes import check_observation, check_value
from bayeskit.program.sites import site_log_prob
from bayeskit.program.weights import LogWeight


def log_density(program: Runnable, choices: Mapping[str, object]) -> LogWeight | Array:
    r"""The log density of a program, observations and factors included, at given values of its random choices.

    Args:
        program: a program, or any function without arguments that makes NumPyro sample statements.
        choices: values by site name, in the model's own coordinates; all latent sites, and no others.

    Returns:
        A scalar: the sum over sites, with ``scale``, ``mask`` and subsampling plates of the program. Minus infinity
        where a value lies outside the support of its site.

    Raises:
        ModelError: a site is missing or unknown; a value or an observation whose shape is not that of its site;
            integers for a continuous site; NaN.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        >>> float(bk.log_density(model, {"z": 0.6}))
        -2.197877...
    """
    given = {name: jnp.asarray(value) for name, value in choices.items()}
    if isinstance(program, WeightedProgram):
        outer = current_level("the log_density of a marginal or normalised program")
        outer.check_transform("a program")
        return at_a_level(outer, program, lambda: program.log_density(given))  # type: ignore[return-value]
    with Wall(name_of_program(program)), _scoring():
        trace = handlers.trace(
            handlers.substitute(_Given(program, name_of_program(program), given), data=given)
        ).get_trace()
    known = [name for name, site in trace.items() if site["type"] in ("sample", "plate", "deterministic")]
    for name in given:
        if name not in known:
            raise ModelError(
                f"choices name {name!r}, which {name_of_program(program)!r} does not have"
                f"{did_you_mean(name, known, 'it has')}"
            )
    total = jnp.zeros(())
    for name, site in trace.items():
        if name in given and jnp.shape(site["value"]) != given[name].shape:
            raise ModelError(
                f"site {name!r} of {name_of_program(program)!r} has shape {jnp.shape(site['value'])} (with the steps "
                f"of its scan), and the value given for it has shape {given[name].shape}"
            )
        if site["type"] == "sample":
            if site["is_observed"] and not site["infer"].get("is_auxiliary"):
                check_observation(site, jnp.shape(site["value"]))
            total = total + jnp.sum(site_log_prob(site))
    return total


@contextmanager
def _scoring() -> Iterator[None]:
    """Below a draw, loops and branches of the program that is scored are NumPyro's."""
    if not is_executing():
        yield
        return
    outer = current_level("bayeskit.log_density")
    inner = outer.child(outer.next_path("log_density"), is_draw=False)
    inner.state, inner.is_scored = outer.state, True
    with at(inner):
        yield


class _Given(Messenger):
    """Refuses a latent site without a value, and draws the indices of subsampling plates."""

    def __init__(self, program: Runnable, name: str, given: Mapping[str, Array]):
        super().__init__(program)
        self._program, self._given = name, given

    def process_message(self, msg: dict[str, Any]) -> None:
        name = str(msg.get("name"))  # a scan or cond has none
        if msg["type"] == "plate" and msg["value"] is None and name not in self._given:
            if not is_executing():
                raise ModelError(
                    f"plate {name!r} of {self._program!r} subsamples its data; call log_density within "
                    "bayeskit.expectation, or give its indices among the choices"
                )
            level = current_level(f"plate {name!r}")
            level.check_transform(f"plate {name!r}")
            size, subsample_size = msg["args"]
            key = level.key_of(f"{level.path}{name}")
            msg["value"] = jax.random.permutation(key, size)[:subsample_size]
        if msg["type"] != "sample" or msg["value"] is not None:
            return
        if name not in self._given:
            raise ModelError(
                f"choices lack site {name!r}, which {self._program!r} needs (given: {', '.join(self._given) or 'none'})"
            )
        check_value(msg, self._program, self._given[name])
