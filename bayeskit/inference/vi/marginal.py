r"""`marginal` and `normalize`: programs made from programs, whose densities are estimated.

A program $p(u, z)$ with its choices $u$ hidden has density $p(z) = \int p(u, z)\,du$; a program with observations $y$,
normalised, has density $p(z \mid y)$. Neither integral is known. Both are estimated with $K$ particles from a
proposal, in the direction that the use asks for (see :class:`bayeskit.LogWeight`).

*Marginal* over $u$ with a proposal $r(u \mid z)$ and $w_k = p(u_k, z) / r(u_k \mid z)$, $\hat p = \frac1K \sum_k w_k$:
given $z$, all $u_k \sim r$; for a $z$ just drawn together with $u$, $u_1 = u$ and the others $\sim r$.
With $K = 1$ this is the hierarchical variational model (Ranganath, Tran and Blei 2016), with more the
importance-weighted one (Sobolev and Vetrov 2019).

*Normalised* by sampling importance resampling: $z_k \sim r$, $w_k = p(y, z_k) / r(z_k)$, and one of them is chosen in
proportion to its weight; $\hat q = p(y, z) / \frac1K \sum_k w_k$. For a given $z$, $z_1 = z$ and the others are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers

from bayeskit._errors import ModelError
from bayeskit._typing import Array, Values
from bayeskit.inference.vi.laplace import LaplaceApproximation
from bayeskit.program.control_flow import replicate
from bayeskit.program.density import log_density
from bayeskit.program.draw import choose, draw
from bayeskit.program.execution import Estimator, current_level
from bayeskit.program.runnable import Runnable, WeightedProgram, detach, name_of_program
from bayeskit.program.supports import elements
from bayeskit.program.weights import LogWeight, number_of

__all__ = ["Exact", "Importance", "Resampling", "exact", "importance", "laplace", "marginal", "normalize", "sir"]

Proposal = Callable[[Values], Runnable]


@dataclass(frozen=True)
class Importance:
    """See :func:`importance`."""

    num_particles: int
    proposal: Proposal


@dataclass(frozen=True)
class Resampling:
    """See :func:`sir`."""

    num_particles: int
    proposal: Runnable
    estimator: Estimator | None = None


@dataclass(frozen=True)
class Laplace:
    """See :func:`laplace`."""

    num_particles: int


@dataclass(frozen=True)
class Exact:
    """See :func:`exact`."""

    max_combinations: int = 4096


def importance(num_particles: int, proposal: Proposal) -> Importance:
    r"""Estimate a marginal by importance sampling.

    Args:
        num_particles: :math:`K`.
        proposal: a function of the kept choices (a mapping) that returns a program which draws the hidden ones: the
            reverse kernel :math:`r(u \mid z)`. It may itself be a marginal or a normalised program.
    """
    _check_count(num_particles)
    return Importance(num_particles, proposal)


def sir(num_particles: int, proposal: Runnable, estimator: Estimator | None = None) -> Resampling:
    r"""Normalise by sampling importance resampling.

    Args:
        num_particles: :math:`K`.
        proposal: a program that draws the latent sites.
        estimator: how gradients pass the choice among the particles; by default the score function.
    """
    _check_count(num_particles)
    return Resampling(num_particles, proposal, estimator)


def laplace(num_particles: int = 1) -> Laplace:
    r"""Propose from the Laplace approximation: a normal distribution at the mode, with the inverse curvature there.

    For :func:`marginal` it is that of the hidden choices given the kept ones, and :func:`importance` does the rest; for
    :func:`normalize` it is that of the posterior, and :func:`sir` does the rest. Bounds stay bounds, whatever the shape
    of the posterior. The mode is sought by Newton's method from the image of zero, at every use; where none is found
    that is smooth (at a kink, say) the density is not a number.

    Args:
        num_particles: :math:`K`.

    Reference: Tierney and Kadane (1986), "Accurate approximations for posterior moments and marginal densities".
    """
    _check_count(num_particles)
    return Laplace(num_particles)


def exact(max_combinations: int = 4096) -> Exact:
    """Sum hidden choices with finite supports out."""
    return Exact(max_combinations)


def marginal(program: Runnable, keep: Sequence[str], using: Importance | Laplace | Exact) -> Marginal:
    r"""The program with only some of its choices, the others integrated out.

    Args:
        program: draws the hidden and the kept choices; without observations.
        keep: names of the sites to keep.
        using: :func:`importance`, :func:`laplace` or :func:`exact`.

    Returns:
        A program: to :func:`bayeskit.draw` from, and for :func:`bayeskit.log_density`, which return a
        :class:`bayeskit.LogWeight` in place of a number where the density is estimated.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def program():
        ...     u = numpyro.sample("u", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(u, 1.0))
        >>> prior = lambda kept: lambda: numpyro.sample("u", dist.Normal(0.0, 1.0))
        >>> x = bk.marginal(program, ["x"], bk.importance(50, prior))
        >>> estimates = jax.vmap(bk.expectation(lambda: bk.draw(x)[1]))(jax.random.split(jax.random.key(0), 1000))
        >>> bool(-1.765 < estimates.mean() < -1.70)  # an upper bound of -1.7655
        True
    """
    if isinstance(keep, str) or not keep:
        raise ModelError(f"keep must be a list of site names, got {keep!r}")
    if isinstance(using, Laplace):
        return Marginal(program, tuple(keep), Importance(using.num_particles, partial(LaplaceApproximation, program)))
    if not isinstance(using, Importance | Exact):
        raise ModelError(
            f"using must be bayeskit.importance(...), bayeskit.laplace() or bayeskit.exact(), got {using!r}"
        )
    return Marginal(program, tuple(keep), using)


def normalize(program: Runnable, using: Resampling | Laplace) -> Normalized:
    r"""The program conditioned on its observations, as a program that draws its latent sites.

    Args:
        program: with observations or factors.
        using: :func:`sir` or :func:`laplace`.

    Returns:
        A program; its densities are of type :class:`bayeskit.LogWeight`.
    """
    if isinstance(using, Laplace):
        return Normalized(program, Resampling(using.num_particles, LaplaceApproximation(program)))
    if not isinstance(using, Resampling):
        raise ModelError(f"using must be bayeskit.sir(...) or bayeskit.laplace(), got {using!r}")
    return Normalized(program, using)


class Marginal(WeightedProgram):
    """Made by :func:`marginal`."""

    def __init__(self, program: Runnable, keep: tuple[str, ...], using: Importance | Exact):
        self.program, self.keep, self.using = program, keep, using
        self.__name__ = f"marginal of {name_of_program(program)}"

    def draw(self) -> tuple[Values, LogWeight | Array]:
        choices, log_joint = draw(self.program)
        kept, hidden = self._split(choices)
        if isinstance(self.using, Exact):
            return kept, self._sum(kept)
        proposal = self.using.proposal(kept)
        first = number_of(log_joint) - number_of(log_density(proposal, hidden))
        rest = self._weights(kept, self.using.num_particles - 1)
        return kept, LogWeight(_log_mean_exp(jnp.append(rest, first)), "upper")

    def log_density(self, choices: Values) -> LogWeight | Array:
        if set(choices) != set(self.keep):
            given, wanted = sorted(choices), sorted(self.keep)
            raise ModelError(f"{self.__name__!r} has the sites {wanted}, and the choices given are {given}")
        if isinstance(self.using, Exact):
            return self._sum(choices)
        return LogWeight(_log_mean_exp(self._weights(choices, self.using.num_particles)), "lower")

    def detached(self) -> Marginal:
        using = self.using
        if isinstance(using, Importance):
            proposal = using.proposal
            using = Importance(using.num_particles, lambda kept: detach(proposal(kept)))
        return Marginal(detach(self.program), self.keep, using)

    def _split(self, choices: Values) -> tuple[Values, Values]:
        for name in self.keep:
            if name not in choices:
                raise ModelError(f"keep names {name!r}, and {name_of_program(self.program)!r} has {sorted(choices)}")
        kept = {name: choices[name] for name in self.keep}
        return kept, {name: value for name, value in choices.items() if name not in kept}

    def _weights(self, kept: Values, num: int) -> Array:
        if num == 0:
            return jnp.zeros((0,))
        using = self.using
        if not isinstance(using, Importance):
            raise TypeError("checked before")

        def one() -> Array:
            hidden, log_r = draw(using.proposal(kept))
            return number_of(log_density(self.program, {**kept, **hidden})) - number_of(log_r)

        return replicate(num, one)

    def _sum(self, kept: Values) -> Array:
        combinations = _combinations(self.program, kept, self.using)
        return jax.nn.logsumexp(jax.vmap(lambda u: number_of(log_density(self.program, {**kept, **u})))(combinations))


class Normalized(WeightedProgram):
    """Made by :func:`normalize`."""

    def __init__(self, program: Runnable, using: Resampling):
        self.program, self.using = program, using
        self.__name__ = f"normalised {name_of_program(program)}"

    def draw(self) -> tuple[Values, LogWeight]:
        particles, log_joint, log_weights = replicate(self.using.num_particles, self._particle)
        level = current_level("bayeskit.normalize")
        index = choose(level, "index of the particle", dist.Categorical(logits=log_weights), self.using.estimator)
        chosen = jax.tree.map(lambda values: values[index], particles)
        return chosen, LogWeight(log_joint[index] - _log_mean_exp(log_weights), "upper")

    def log_density(self, choices: Values) -> LogWeight:
        log_joint = number_of(log_density(self.program, choices))
        first = log_joint - number_of(log_density(self.using.proposal, choices))
        num = self.using.num_particles - 1
        rest = replicate(num, self._particle)[2] if num else jnp.zeros((0,))
        return LogWeight(log_joint - _log_mean_exp(jnp.append(rest, first)), "lower")

    def detached(self) -> Normalized:
        using = self.using
        return Normalized(
            detach(self.program), Resampling(using.num_particles, detach(using.proposal), using.estimator)
        )

    def _particle(self) -> tuple[Values, Array, Array]:
        choices, log_r = draw(self.using.proposal)
        log_joint = number_of(log_density(self.program, choices))
        return choices, log_joint, log_joint - number_of(log_r)


def _combinations(program: Runnable, kept: Values, using: Importance | Exact) -> Values:
    """All values of the hidden choices, with a leading axis."""
    supports: dict[str, tuple[np.ndarray, tuple[int, ...]]] = {}

    def look() -> None:
        seeded = handlers.seed(handlers.substitute(program, data=kept), jax.random.PRNGKey(0))
        with handlers.block():
            trace = handlers.trace(seeded).get_trace()
        for name, site in trace.items():
            if site["type"] != "sample" or site["is_observed"] or name in kept:
                continue
            single = elements(site["fn"])
            if not site["fn"].has_enumerate_support or single.event_dim:
                raise ModelError(
                    f"site {name!r} of {name_of_program(program)!r} has no finite support to sum over; use "
                    "bayeskit.importance(...), or keep it"
                )
            with jax.ensure_compile_time_eval():
                supports[name] = np.asarray(single.enumerate_support(expand=False)).reshape(-1), single.batch_shape

    jax.eval_shape(look)
    sizes = [len(support) for support, shape in supports.values() for _ in range(math.prod(shape))]
    limit = using.max_combinations if isinstance(using, Exact) else 0
    if math.prod(sizes) > limit:
        raise ModelError(f"{', '.join(map(repr, supports))}: {math.prod(sizes)} combinations, more than {limit}")
    index = np.indices(tuple(sizes)).reshape(len(sizes), -1).T
    out, start = {}, 0
    for name, (support, shape) in supports.items():
        stop = start + math.prod(shape)
        out[name] = jnp.asarray(support[index[:, start:stop]].reshape(-1, *shape))
        start = stop
    return out


def _log_mean_exp(values: Array) -> Array:
    return jax.nn.logsumexp(values) - math.log(values.shape[0])


def _check_count(num_particles: int) -> None:
    if not isinstance(num_particles, int) or isinstance(num_particles, bool) or num_particles < 1:
        raise ModelError(f"num_particles must be a positive integer, got {num_particles!r}")
