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

from collections.abc import Sequence

from bayeskit.errors import ModelError
from bayeskit.inference.vi.programs.integrator import Integrator
from bayeskit.program.runnable import Runnable, WeightedProgram

__all__ = ["marginal", "normalize"]


def marginal(program: Runnable, keep: Sequence[str], using: Integrator) -> WeightedProgram:
    r"""The program with only some of its choices, the others integrated out.

    Args:
        program: draws the hidden and the kept choices; without observations.
        keep: names of the sites to keep.
        using: ``bayeskit.integrators.ImportanceSampling(...)``, ``LaplaceProposal()`` or ``Exact()``.

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
        >>> x = bk.marginal(program, ["x"], bk.integrators.ImportanceSampling(50, prior))
        >>> estimate = jax.jit(jax.vmap(bk.expectation(lambda: bk.draw(x)[1])))
        >>> estimates = estimate(jax.random.split(jax.random.key(0), 1000))
        >>> bool(-1.765 < estimates.mean() < -1.70)  # an upper bound of -1.7655
        True
    """
    if isinstance(keep, str) or not keep:
        raise ModelError(f"keep must be a list of site names, got {keep!r}")
    return _integrator(using).marginal(program, tuple(keep))


def normalize(program: Runnable, using: Integrator) -> WeightedProgram:
    r"""The program conditioned on its observations, as a program that draws its latent sites.

    Args:
        program: with observations or factors.
        using: ``bayeskit.integrators.SIR(...)`` or ``LaplaceProposal()``.

    Returns:
        A program; its densities are of type :class:`bayeskit.LogWeight`.
    """
    return _integrator(using).normalize(program)


def _integrator(using: object) -> Integrator:
    if not isinstance(using, Integrator):
        raise ModelError(f"using must be one of bayeskit.integrators, such as ImportanceSampling(...), got {using!r}")
    return using
