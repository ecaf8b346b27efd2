"""`draw` and `log_density`: the two things that an objective does with a program."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers, primitives
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.distribution import MaskedDistribution
from numpyro.primitives import Messenger

from bayeskit._errors import ModelError
from bayeskit._typing import Array, Values
from bayeskit.program.bind import Program
from bayeskit.program.execution import Choice, Estimator, Level, at, current_level, is_executing
from bayeskit.program.weights import LogWeight


class WeightedProgram(ABC):
    """A program whose density is estimated (`bayeskit.marginal`, `bayeskit.normalize`)."""

    __name__: str

    @abstractmethod
    def draw(self) -> tuple[Values, LogWeight | Array]:
        """Values and the log of their density, estimated for values that were just drawn."""

    @abstractmethod
    def log_density(self, choices: Values) -> LogWeight | Array:
        """The log of the density at given values, estimated without bias."""

    def detached(self) -> WeightedProgram:
        """The same program, through whose parameters no gradient passes."""
        raise ModelError(f"the parameters of {self.__name__!r} are not known, so they cannot be detached")


Runnable = Program | WeightedProgram | Callable[[], object]


def draw(program: Runnable, *, key: Array | int | None = None) -> tuple[Values, LogWeight | Array]:
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
        if is_executing():
            raise ModelError(
                "bayeskit.draw has a key of its own inside of bayeskit.expectation, where a gradient would lose the "
                "terms of the choices; leave out key="
            )
        with at(Level(_as_key(key), "", {}, _plain, is_draw=False)):
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
        return _at_a_level(outer, program, program.draw)  # type: ignore[return-value]
    inner = outer.child(outer.next_path(name_of_program(program)), is_draw=True)
    with at(inner), _Drawing(name_of_program(program)):
        program()
    outer.add(inner.records, inner.choices)
    return inner.values, inner.log_density


def log_density(program: Runnable, choices: Mapping[str, object]) -> LogWeight | Array:
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
    if isinstance(program, WeightedProgram):
        outer = current_level("the log_density of a marginal or normalised program")
        outer.check_transform("a program")
        return _at_a_level(outer, program, lambda: program.log_density(given))  # type: ignore[return-value]
    with _Wall(name_of_program(program)), _scoring():
        trace = handlers.trace(
            handlers.substitute(_Given(program, name_of_program(program), given), data=given)
        ).get_trace()
    known = [name for name, site in trace.items() if site["type"] in ("sample", "plate", "deterministic")]
    for name in given:
        if name not in known:
            raise ModelError(
                f"choices name {name!r}, which {name_of_program(program)!r} does not have{_hint(name, known)}"
            )
    return sum((_log_density(site) for site in trace.values() if site["type"] == "sample"), start=jnp.zeros(()))


def detach(program: Runnable) -> Runnable:
    """The same program, through whose parameters no gradient passes (they still pass the values of its choices).

    Args:
        program: made by :func:`bayeskit.bind`, whose array arguments are its parameters.

    Raises:
        ModelError: ``program`` is a plain function, whose parameters cannot be known.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def f(loc):
        ...     guide = bk.bind(lambda loc: numpyro.sample("z", dist.Normal(loc, 1.0)), {"loc": loc})
        ...     return bk.log_density(bk.detach(guide), {"z": 0.5})
        >>> float(jax.grad(f)(0.0))
        0.0
    """
    if isinstance(program, Program):
        return jax.tree.map(jax.lax.stop_gradient, program)
    if isinstance(program, WeightedProgram):
        return program.detached()
    raise ModelError(
        f"the parameters of the function {name_of_program(program)!r} cannot be known; make it a program whose "
        "parameters are arguments: bayeskit.bind(guide, {'parameters': parameters})"
    )


def _at_a_level(outer: Level, program: WeightedProgram, run: Callable[[], object]) -> object:
    """Run at a level of its own, so that the addresses inside are those of this use alone."""
    inner = outer.child(outer.next_path(program.__name__), is_draw=False)
    with at(inner):
        result = run()
    outer.add(inner.records, inner.choices)
    return result


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
    if isinstance(program, WeightedProgram):
        raise ModelError(f"choose the estimators of the programs inside {program.__name__!r}, before it is made")

    def run() -> object:
        naming = _Naming(by_site)
        with naming:
            result = program()
        for name in by_site:
            if name not in naming.seen:
                known = sorted(naming.all)
                raise ModelError(
                    f"estimators name {name!r}, a site that {name_of_program(program)!r} lacks{_hint(name, known)}"
                )
        return result

    run.__name__ = name_of_program(program)
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


class _Wall(Messenger):
    """Nothing that a program does is seen by handlers around it, but its parameters may come from there."""

    def __init__(self, program: str):
        super().__init__(None)
        self._program = program

    def process_message(self, msg: dict[str, Any]) -> None:
        _shut_off(msg, self, self._program)


def _shut_off(msg: dict[str, Any], handler: Messenger, program: str) -> None:
    """Keep a message from the handlers around `handler`, except a parameter that they may know.

    Raises:
        ModelError: nobody knows the parameter: its first value would be used in silence, and have no gradient.
    """
    msg["stop"] = msg["type"] != "param" or msg["value"] is not None
    if not msg["stop"] and primitives._PYRO_STACK[0] is handler:
        raise ModelError(
            f"parameter {msg['name']!r} of {program!r} has no value here; pass parameters as arguments, put "
            "numpyro.handlers.substitute(program, data=parameters) around the program, or fit it as the guide of "
            "bayeskit.VI"
        )


class _Drawing(Messenger):
    """Gives every site of a draw its value, at the level that is under way."""

    def __init__(self, program: str):
        super().__init__(None)
        self._program = program

    def process_message(self, msg: dict[str, Any]) -> None:
        _shut_off(msg, self, self._program)
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
        if not msg["infer"].get("is_auxiliary"):
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
        if isinstance(distribution, MaskedDistribution) or type(distribution).__name__ == "Independent":
            distribution = distribution.base_dist
        elif type(distribution).__name__ == "ExpandedDistribution":
            inner = elements(distribution.base_dist)
            if inner is distribution.base_dist:
                return distribution
            shape = (*distribution.batch_shape, *distribution.event_shape)
            return inner.expand(shape[: len(shape) - inner.event_dim])
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
        name = msg.get("name")  # a scan or cond has none
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
    if not is_everywhere(distribution.support) and not site["infer"].get("is_auxiliary"):
        mask = distribution._mask if isinstance(distribution, MaskedDistribution) else True
        log_prob = jnp.where(distribution.support(value) | ~jnp.asarray(mask), log_prob, -jnp.inf)
    scale = site["scale"]
    return jnp.sum(log_prob if scale is None else scale * log_prob)


def is_everywhere(support: object) -> bool:
    """Whether a support is the whole space."""
    if isinstance(support, constraints.independent):
        return is_everywhere(support.base_constraint)
    return isinstance(support, type(constraints.real))


def name_of_program(program: Runnable) -> str:
    """The name of a program, for messages."""
    return program.name if isinstance(program, Program) else str(getattr(program, "__name__", type(program).__name__))


def _as_key(key: Array | int) -> Array:
    return jax.random.PRNGKey(key) if isinstance(key, int) else jnp.asarray(key)


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f" (it has {', '.join(map(repr, known)) or 'none'})"
