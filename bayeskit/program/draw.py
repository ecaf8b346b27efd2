"""`draw` and `log_density`: the two things that an objective does with a program."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.distribution import MaskedDistribution
from numpyro.primitives import Messenger

from bayeskit._errors import ModelError
from bayeskit._typing import Array, Values
from bayeskit.program.bind import Program
from bayeskit.program.execution import Choice, Estimator, Level, at, current_level, is_executing

Runnable = Program | Callable[[], object]


def draw(program: Runnable, *, key: Array | int | None = None) -> tuple[Values, Array]:
    r"""Draw the random choices of a program: :math:`z \sim q` and :math:`\log q(z)`.

    Args:
        program: a program, or any function without arguments that makes NumPyro sample statements.
        key: a key, outside of :func:`bayeskit.expectation` (which gives every choice a key of its own). Such draws are
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
        with at(Level(_as_key(key), "", {}, _plain, is_draw=False)):
            return draw(program)
    outer = current_level("bayeskit.draw")
    outer.check_transform("a program")
    inner = outer.child(outer.next_path(_name(program)), is_draw=True)
    with at(inner), _Drawing(_name(program)):
        program()
    outer.add(inner.records, inner.choices)
    return inner.values, inner.log_density


def log_density(program: Runnable, choices: Mapping[str, object]) -> Array:
    r"""The log density of a program, observations and factors included, at given values of its random choices.

    Args:
        program: a program, or any function without arguments that makes NumPyro sample statements.
        choices: values by site name, in the model's own coordinates; all latent sites, and no others.

    Returns:
        A scalar: the sum over sites, with ``scale``, ``mask`` and subsampling plates of the program. Minus infinity
        where a value lies outside the support of its site.

    Raises:
        ModelError: a site is missing or unknown.

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
    with handlers.block():
        trace = handlers.trace(handlers.substitute(_Given(program, _name(program), given), data=given)).get_trace()
    known = [name for name, site in trace.items() if site["type"] in ("sample", "plate", "deterministic")]
    for name in given:
        if name not in known:
            raise ModelError(f"choices name {name!r}, which {_name(program)!r} does not have{_hint(name, known)}")
    return sum((_log_density(site) for site in trace.values() if site["type"] == "sample"), start=jnp.zeros(()))


def estimators(program: Runnable, by_site: Mapping[str, Estimator]) -> Callable[[], object]:
    """The same program with estimators for some of its sites, chosen from outside.

    Args:
        program: a program.
        by_site: an estimator by site name; it replaces one named at the site.

    Raises:
        ModelError: when run: the program has no such site.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> coin = lambda: numpyro.sample("b", dist.Bernoulli(0.3))
        >>> f = lambda: bk.draw(bk.estimators(coin, {"b": bk.enumeration()}))[0]["b"]
        >>> float(bk.expectation(f)(0))
        0.3...
    """

    def run() -> object:
        naming = _Naming(by_site)
        with naming:
            result = program()
        for name in by_site:
            if name not in naming.seen:
                known = sorted(naming.all)
                raise ModelError(f"estimators name {name!r}, a site that {_name(program)!r} lacks{_hint(name, known)}")
        return result

    run.__name__ = _name(program)
    return run


class _Naming(Messenger):
    def __init__(self, by_site: Mapping[str, Estimator]):
        super().__init__(None)
        self._by_site = by_site
        self.seen: set[str] = set()
        self.all: set[str] = set()

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample":
            self.all.add(msg["name"])
            if msg["name"] in self._by_site:
                self.seen.add(msg["name"])
                msg["infer"] = {**msg["infer"], "estimator": self._by_site[msg["name"]]}


class _Drawing(Messenger):
    """Gives every site of a draw its value, at the level that is under way."""

    def __init__(self, program: str):
        super().__init__(None)
        self._program = program

    def process_message(self, msg: dict[str, Any]) -> None:
        msg["stop"] = True
        if msg["type"] == "control_flow":
            raise ModelError(
                f"{self._program!r} uses NumPyro's scan or cond, inside of which a draw would lose gradient terms; use "
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
        level.values[name] = msg["value"]
        level.log_density = level.log_density + _log_density(msg)


def choose(
    level: Level, name: str, distribution: Distribution, wanted: object, kwargs: Mapping[str, Any] | None = None
) -> Array:
    """The value of a random choice, overridden or drawn; leaves its record with the level."""
    if kwargs and kwargs.get("sample_shape"):
        distribution = distribution.expand((*kwargs["sample_shape"], *distribution.batch_shape))
    estimator = level.choose(distribution) if wanted is None else wanted
    if not isinstance(estimator, Estimator):
        raise ModelError(
            f"site {name!r}: infer={{'estimator': ...}} must be one such as bayeskit.score(), got {wanted!r}"
        )
    estimator.check(name, distribution)
    address = level.path + name
    key, extra = jax.random.split(level.key_of(address))
    value = estimator.sample(key, distribution)
    override = level.overrides.get(address)
    if override is not None:
        value = jnp.where(override.mask, override.value.astype(value.dtype), value)
    level.records[address] = estimator.record(extra, distribution, value)
    level.choices[address] = Choice(
        name, estimator, value.shape, value.dtype, support=finite_support(distribution, estimator)
    )
    return value


def finite_support(distribution: Distribution, estimator: Estimator) -> tuple[float, ...] | None:
    """The support of one element, for the estimators that need it."""
    if not getattr(estimator, "needs_support", False) or not distribution.has_enumerate_support:
        return None
    with jax.ensure_compile_time_eval():
        support = np.asarray(elements(distribution).enumerate_support(expand=False))
    return tuple(float(v) for v in support.reshape(-1))


def elements(distribution: Distribution) -> Distribution:
    """The distribution with its independent elements as batch dimensions, and without a mask."""
    while True:
        if isinstance(distribution, MaskedDistribution):
            distribution = distribution.base_dist
        elif type(distribution).__name__ == "Independent":
            distribution = distribution.base_dist
        elif type(distribution).__name__ == "ExpandedDistribution" and distribution.event_dim > 0:
            inner = elements(distribution.base_dist)
            if inner.event_dim > 0:
                return distribution
            distribution = inner.expand((*distribution.batch_shape, *distribution.event_shape))
        else:
            return distribution


class _Plain(Estimator):
    def check(self, site: str, distribution: Distribution) -> None:
        del site, distribution

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jnp.asarray(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> dict[str, Array]:
        del key, distribution, value
        return {}


def _plain(distribution: Distribution) -> Estimator:
    del distribution
    return _Plain()


class _Given(Messenger):
    """Complains of a latent site without a value, and draws the indices of subsampling plates."""

    def __init__(self, program: Runnable, name: str, given: Mapping[str, Array]):
        super().__init__(program)
        self._program, self._given = name, given

    def process_message(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if msg["type"] == "plate" and msg["value"] is None and name not in self._given:
            if not is_executing():
                raise ModelError(
                    f"plate {name!r} of {self._program!r} subsamples its data; call log_density within "
                    "bayeskit.expectation, or give its indices among the choices"
                )
            level = current_level(f"plate {name!r}")
            level.check_transform(f"plate {name!r}")
            size, subsample_size = msg["args"]
            key = level.key_of(level.next_path("log_density") + name)
            msg["value"] = jax.random.permutation(key, size)[:subsample_size]
        if msg["type"] == "sample" and msg["value"] is None and name not in self._given:
            raise ModelError(
                f"choices lack site {name!r}, which {self._program!r} needs (given: {', '.join(self._given) or 'none'})"
            )


def _log_density(site: Mapping[str, Any]) -> Array:
    """Scaled log density of a site; minus infinity outside of the support."""
    distribution, value = site["fn"], site["value"]
    if site.get("intermediates"):
        log_prob = distribution.log_prob(value, site["intermediates"])
    else:
        log_prob = distribution.log_prob(value)
    if not _is_everywhere(distribution.support) and not site["infer"].get("is_auxiliary"):
        mask = distribution._mask if isinstance(distribution, MaskedDistribution) else True
        log_prob = jnp.where(distribution.support(value) | ~jnp.asarray(mask), log_prob, -jnp.inf)
    scale = site["scale"]
    return jnp.sum(log_prob if scale is None else scale * log_prob)


def _is_everywhere(support: object) -> bool:
    if isinstance(support, constraints.independent):
        return _is_everywhere(support.base_constraint)
    return support is constraints.real or support is constraints.real_vector


def _name(program: Runnable) -> str:
    return program.name if isinstance(program, Program) else str(getattr(program, "__name__", type(program).__name__))


def _as_key(key: Array | int) -> Array:
    return jax.random.PRNGKey(key) if isinstance(key, int) else jnp.asarray(key)


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f" (it has {', '.join(map(repr, known)) or 'none'})"
