r"""Divergences :math:`D_f[p \,\|\, q] = \mathrm E_q f(p/q)` with a convex :math:`f`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from bayeskit._settings import check_choice, is_number, require
from bayeskit._typing import Array
from bayeskit.inference.vi.objectives.csiszar import FUNCTIONS, POWERS, Function, dual_of
from bayeskit.inference.vi.objectives.objective import Objective, check_count, inside, known, log_weight
from bayeskit.program import Runnable, average, replicate
from bayeskit.program.weights import number_of

__all__ = ["FDivergence"]


@dataclass(frozen=True)
class FDivergence(Objective):
    r"""Minus a divergence :math:`D_f[p(z \mid y) \,\|\, q] = \mathrm E_q f(u)`, :math:`u = p(z \mid y) / q(z)`.

    With the weights :math:`w_k = p(y, z_k) / q(z_k)`, :math:`z_k \sim q`, the objective is minus the mean of
    :math:`f(u_k)` over :math:`K` particles, where

    * self-normalised, :math:`u_k = w_k / \frac1K \sum_j w_j`. The value has a bias of order :math:`1/K`, and what is
      maximised is its expectation, whose gradient is estimated without bias. No :math:`u_k` exceeds :math:`K`: where
      the guide is poor, a divergence that counts large :math:`u` (``kl_forward``, ``pearson``) looks small.
    * otherwise :math:`u_k = w_k`, without bias: but it is of the posterior times :math:`p(y)`, which is the divergence
      from the posterior only where :math:`p(y) = 1`. For ``kl_reverse``, ``kl_forward``, ``pearson``, ``chi_square``,
      ``amari_alpha`` and ``t_power`` the best guide is the same; for the others it is not. And :math:`w` may well be
      too large or too small for a number.

    ========================  =========================================================================
    function                  :math:`f(u)`
    ========================  =========================================================================
    ``kl_forward``            :math:`u \log u - (u - 1)`: :math:`\mathrm{KL}(p \,\|\, q)`
    ``kl_reverse``            :math:`-\log u + (u - 1)`: :math:`\mathrm{KL}(q \,\|\, p)`
    ``jeffreys``              :math:`\tfrac12 (u - 1) \log u`: the mean of the two
    ``jensen_shannon``        :math:`u \log u - (1 + u) \log \frac{1 + u}{2}`: from both to their mean
    ``arithmetic_geometric``  :math:`(1 + u) \log \frac{1 + u}{2 \sqrt u}`: from their mean to both
    ``total_variation``       :math:`\tfrac12 |u - 1|`
    ``pearson``               :math:`(u - 1)^2`
    ``chi_square``            :math:`u^2 - 1`
    ``squared_hellinger``     :math:`(\sqrt u - 1)^2`
    ``triangular``            :math:`(u - 1)^2 / (u + 1)`
    ``log1p_abs``             :math:`\max(u, 1/u) - 1`
    ``modified_gan``          :math:`\log(1 + u) - \log u + \tfrac12 (u - 1)`
    ``amari_alpha``           :math:`((u^\alpha - 1) - \alpha (u - 1)) / (\alpha (\alpha - 1))`, with its limits at 0
                              and 1; :math:`\alpha` is the ``power``
    ``t_power``               :math:`\pm (u^t - 1 - t (u - 1))`, minus for :math:`0 < t < 1`; :math:`t` is the
                              ``power``
    ========================  =========================================================================

    Gradients pass the choices by their estimators, so all of them will do; but the result is not a number where a
    pathwise choice has left the support of the model, whose boundary such a gradient does not see. Divergences that
    weigh :math:`u` strongly (``pearson``, ``chi_square``, a power above 1) have a variance that grows exponentially
    with the dimension.

    Args:
        function: a name, or a convex function of the array :math:`\log u`, element by element.
        num_particles: :math:`K`; two or more where self-normalised.
        power: of ``amari_alpha`` and ``t_power``.
        dual: take :math:`u f(1/u)` for :math:`f`, which is the divergence with its arguments exchanged.
        self_normalized: divide the weights by their mean.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called: a density is estimated.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        >>> posterior = lambda: numpyro.sample("z", dist.Normal(0.6, 0.5**0.5))
        >>> divergence = bk.expectation(bk.objectives.FDivergence("jensen_shannon", 8))
        >>> abs(round(float(jax.jit(lambda key: divergence(key, model, posterior))(0)), 5))
        0.0

    Reference: Csiszár (1963); Li and Turner (2016), "Rényi divergence variational inference"; Dieng, Tran, Ranganath,
    Paisley and Blei (2017), "Variational inference via chi upper bound minimization". Functions and names are those of
    TensorFlow Probability's ``tfp.vi`` with ``self_normalized=True`` there.
    """

    kind: ClassVar[str] = "f_divergence"

    function: str | Callable[[Array], Array]
    num_particles: int = 16
    power: float | None = field(default=None, kw_only=True)
    dual: bool = field(default=False, kw_only=True)
    self_normalized: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2 if self.self_normalized else 1)
        if callable(self.function):
            require(
                self.power is None,
                "power",
                self.power,
                "absent with a function (it is for 'amari_alpha' and 't_power')",
            )
            return
        check_choice("function", self.function, (*FUNCTIONS, *POWERS))
        if self.function in FUNCTIONS:
            require(self.power is None, "power", self.power, f"absent for {self.function!r}")
        else:
            ok = is_number(self.power) and not (self.function == "t_power" and self.power in (0, 1))
            require(ok, "power", self.power, "a number" + (", not 0 or 1" if self.function == "t_power" else ""))

    @property
    def f(self) -> Function:
        r"""The function $f$ or its dual, as a function of $\log u$: weights are kept as logarithms."""
        if callable(self.function):
            return dual_of(self.function) if self.dual else self.function
        if self.function in FUNCTIONS:
            return FUNCTIONS[self.function][int(self.dual)]
        power = float(self.power or 0.0)
        return POWERS[self.function](1.0 - power if self.dual else power)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        def log_w() -> Array:
            known_weight = known(
                log_weight(model, guide),
                "an f-divergence",
                "bayeskit.objectives.ELBO() or bayeskit.objectives.WakeGuide()",
            )
            return inside(known_weight)

        if not self.self_normalized:
            return number_of(average(self.num_particles, lambda: -self.f(log_w())))
        log_ws = replicate(self.num_particles, log_w)
        return -jnp.mean(self.f(log_ws - jax.nn.logsumexp(log_ws) + jnp.log(self.num_particles)))
