"""`draw`: the random choices of a program and the log density at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution
from numpyro.primitives import Messenger

from bayeskit._keys import as_key
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program.execution import Choice, Estimator, Level, Record, at, current_level, is_executing
from bayeskit.program.isolation import shut_off
from bayeskit.program.runnable import Runnable, WeightedProgram, at_a_level, name_of_program
from bayeskit.program.sites import finite_support, site_log_prob
from bayeskit.program.weights import LogWeight
from bayeskit.xla.marks import mark


def draw(program: Runnable, *, key: Array | int | np.integer | None = None) -> tuple[Values, LogWeight | Array]:
    r"""Draw the random choices of a program: :math:`z \sim q` and :math:`\log q(z)`.

    Args:
        program: a program, or any function without arguments that makes NumPyro sample statements.
        key: a key, outside :func:`bayeskit.expectation` (which gives every choice a key of its own). Such draws are
            plain: no estimator is attached, and gradients pass only through reparameterised distributions.

    Returns:
        Values by site name, the indices of subsampling plates among them, and the log density at them: the sum over
        sites, with ``scale`` and ``mask`` of the program's own handlers.

    Raises:
        ModelError: no key; a site with an observation or a factor; a site drawn twice; a draw inside a JAX
            transformation of your own; an estimator that would be wrong for its distribution.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> choices, log_q = bk.draw(lambda: numpyro.sample("z", dist.Normal(0.0, 1.0)), key=0)
        >>> float(log_q - dist.Normal(0.0, 1.0).log_prob(choices["z"]))
        0.0
    """
    if key is not None:
        if is_executing():
            raise ModelError(
                "bayeskit.draw has a key of its own inside bayeskit.expectation, where a gradient would lose the "
                "terms of the choices; leave out key="
            )
        with at(Level(as_key(key, "bayeskit.draw", ModelError), "", {}, _plain, is_draw=False)):
            return draw(program)
    outer = current_level("bayeskit.draw")
    outer.check_transform("a program")
    if outer.is_scored:
        raise ModelError(
            f"{name_of_program(program)!r} is drawn inside a program whose log density is taken, so would be random; "
            "make its choices sites of that program (and hide them with bayeskit.marginal), or draw it in the objective"
        )
    if outer.is_draw:
        raise ModelError(
            f"{name_of_program(program)!r} is drawn inside a program that is drawn itself, whose log density would "
            "leave it out; call the inner program instead, or draw both in the objective"
        )
    if isinstance(program, WeightedProgram):
        return at_a_level(outer, program, program.draw)  # type: ignore[return-value]
    inner = outer.child(outer.next_path(name_of_program(program)), is_draw=True)
    with at(inner), _Drawing(name_of_program(program)):
        program()
    outer.add(inner.records, inner.choices)
    return inner.values, sum(map(jnp.sum, inner.log_probs.values()), start=jnp.zeros(()))


class _Drawing(Messenger):
    """Gives every site of a draw its value, at the level that is under way."""

    def __init__(self, program: str):
        super().__init__(None)
        self._program = program

    def process_message(self, msg: dict[str, Any]) -> None:
        shut_off(msg, self, self._program)
        if msg["type"] == "control_flow":
            raise ModelError(
                f"{self._program!r} uses NumPyro's scan or cond, inside which a draw would lose gradient terms; use "
                "bayeskit.scan and bayeskit.cond (everywhere else they are NumPyro's)"
            )
        if msg["type"] == "plate" and msg["value"] is None:
            self._subsample(msg)
        if msg["type"] == "sample":
            self._sample(msg)

    def _subsample(self, msg: dict[str, Any]) -> None:
        level = current_level("a plate")
        level.check_transform(f"plate {msg['name']!r}")
        size, subsample_size = msg["args"]
        key = level.key_of(level.path + msg["name"])
        msg["value"] = level.values[msg["name"]] = jax.random.permutation(key, size)[:subsample_size]

    def _sample(self, msg: dict[str, Any]) -> None:
        name, distribution = msg["name"], msg["fn"]
        if msg["is_observed"]:
            raise ModelError(
                f"site {name!r} of {self._program!r} has an observation (or is a factor), so it cannot be drawn; drop "
                "it from the program that is drawn"
            )
        level = current_level(f"site {name!r}")
        if msg["value"] is None:
            level.check_transform(f"site {name!r}")
            msg["value"] = choose(level, name, distribution, msg["infer"].get("estimator"), msg["kwargs"])
        if name in level.values:
            raise ModelError(f"site {name!r} is drawn twice in one draw; give its sites different names")
        if not msg["infer"].get("is_auxiliary"):
            level.values[name] = msg["value"]
        level.log_probs[level.path + name] = site_log_prob(msg)


def choose(
    level: Level, name: str, distribution: Distribution, wanted: object, kwargs: Mapping[str, Any] | None = None
) -> Array:
    """The value of a random choice, overridden or drawn; leaves its record with the level."""
    if kwargs and kwargs.get("sample_shape"):
        distribution = distribution.expand((*kwargs["sample_shape"], *distribution.batch_shape))
    estimator = level.choose(distribution) if wanted is None else wanted
    if not isinstance(estimator, Estimator):
        raise ModelError(
            f"site {name!r}: infer={{'estimator': ...}} must be one such as bayeskit.estimators.Score(), got {wanted!r}"
        )
    estimator.check(name, distribution)
    address = level.path + name
    key, extra = jax.random.split(level.key_of(address))
    value = estimator.sample(key, distribution)
    override = level.overrides.get(address)
    if level.is_traced:
        value = mark(value, f"path {name}" if estimator.passes_values else "drawn")
        if override is None and not estimator.passes_values:
            override = level.blank(address, value.shape, value.dtype)
    if override is not None:
        given = override.value.astype(value.dtype)
        value = given if override.mask is None else jnp.where(override.mask, given, value)
    level.records[address] = Record(estimator.record(extra, distribution, value))
    level.choices[address] = Choice(
        name, estimator, value.shape, value.dtype, support=finite_support(distribution, estimator)
    )
    return value


class _Plain(Estimator):
    def check(self, site: str, distribution: Distribution) -> None:
        del site, distribution

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jnp.asarray(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> None:
        del key, distribution, value


def _plain(distribution: Distribution) -> Estimator:
    del distribution
    return _Plain()
