r"""Weights of all particles of all generations of a persistent run, on the host in double precision.

Generation $s$ has $N$ particles at temperature $\beta_s$, whose density $p(z) L(z)^{\beta_s} / Z_s$ is known up to the
error of $Z_s$. All of them together are draws of the mixture of these densities, so that at a temperature $\beta$

$$w_{\beta}(z) = \frac{L(z)^\beta}{\frac1t \sum_{s<t} L(z)^{\beta_s} / Z_s}, \qquad
  Z_\beta \approx \frac{1}{tN} \sum_{s<t} \sum_j w_\beta(z_{sj}) .$$

**The variance of the evidence.** Let family $i$, the descendants of draw $i$ of the prior, weigh more by a factor
$1 + \epsilon$. The evidences move, $\delta_t = \partial \log Z_t / \partial \epsilon$, for three reasons: the family
has a share of the weights; the denominators have changed with the $Z_s$ before; and so have the weights by which
parents were chosen. All three are sums over the particles. The relative variance is $\sum_i \delta_{Ti}^2$, as for
weights of independent families, less the part of $\delta$ that systematic resampling has put there by rounding the
sizes of families to whole numbers (`bayeskit.inference.smc.weights`), of known variance. With one generation at a time
this is the estimate of Lee and Whiteley (2018).

Arrays are of one run, shape ``(generation, particle)``.

Reference: Karamanis and Seljak (2025), "Persistent sampling: enhancing the efficiency of sequential Monte Carlo", for
the weights, equations 14 to 17.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from bayeskit.inference.smc.weights import BISECTIONS, effective_size, normalised

__all__ = ["Ensemble", "in_families"]


class Ensemble(NamedTuple):
    """The generations of a run so far.

    Attributes:
        log_likelihood: of each particle; what is NaN counts as zero.
        temperatures: of the generations, shape ``(generation,)``.
        log_evidences: estimated when each was made, shape ``(generation,)``.
        parents: place of the parent in the generations before, laid in a row.
        eve: the ancestor among the draws of the prior.
    """

    log_likelihood: np.ndarray
    temperatures: np.ndarray
    log_evidences: np.ndarray
    parents: np.ndarray
    eve: np.ndarray

    def before(self, generation: int) -> Ensemble:
        """The generations before this one."""
        return Ensemble(*(leaf[:generation] for leaf in self))

    def shares(self) -> np.ndarray:
        """Logarithms of the densities of the generations at each particle, shape ``(generation, *particles)``, over the
        prior.
        """
        return _power(self.log_likelihood[None], self.temperatures[:, None, None]) - self.log_evidences[:, None, None]

    def log_mixture(self) -> np.ndarray:
        """Logarithm of the density of the mixture at each particle, over the prior."""
        return np.asarray(logsumexp(self.shares(), axis=0)) - np.log(len(self.temperatures))

    def log_weights(self, temperature: float) -> np.ndarray:
        """Log weights at a temperature."""
        weights = _power(self.log_likelihood, np.asarray(temperature)) - self.log_mixture()
        return np.where(np.isnan(weights), -np.inf, weights)

    def next_temperature(self, target_ess: float) -> float:
        """The largest temperature up to one at which all weights are worth `target_ess` of a generation, of the
        particles whose likelihood is not zero, by bisection.
        """
        alive = np.isfinite(self.log_likelihood)
        wanted = target_ess * alive[0].sum()
        likelihood, mixture = self.log_likelihood[alive], self.log_mixture()[alive]

        def worth(temperature: float) -> float:
            return effective_size(normalised(temperature * likelihood - mixture))

        low, high = float(self.temperatures[-1]), 1.0
        if worth(high) >= wanted:
            return 1.0
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if worth(middle) >= wanted else (low, middle)
        return high

    def variance(self) -> float:
        """Relative variance of the evidence at temperature one, by all generations."""
        moved, rounded = self.influence()
        return float(np.square(moved).sum()) - rounded

    def influence(self) -> tuple[np.ndarray, float]:
        """What each family's weight moves the log evidence by, shape ``(particle,)``, and how much of the sum of their
        squares the rounding of resampling has made.
        """
        count, size = self.log_likelihood.shape
        moved = np.zeros((count + 1, size))  # of each evidence, by each family
        tilts = np.zeros((count, size, count + 1))  # of each particle, by each evidence
        sizes = np.eye(count + 1)  # what the size of a family in one generation makes of that in later ones
        moves = np.zeros((count + 1, count + 1))  # and of later evidences
        rounded = np.zeros(count + 1)
        for t in range(1, count + 1):
            last = self.before(t)
            temperature = self.temperatures[t] if t < count else 1.0
            log_weights = last.log_weights(float(temperature))
            weights = normalised(log_weights)
            share = np.where(weights > 0, np.exp(last.shares() - last.log_mixture() - np.log(t)), 0.0)
            tilt = tilts[:t].copy()
            tilt[..., 1:t] += np.moveaxis(share[1:], 0, -1)
            slopes = np.einsum("sj,sjk->k", weights, tilt)
            slopes[t:] = 0.0
            family = np.bincount(last.eve.ravel(), weights.ravel(), minlength=size)
            moved[t] = family - 1.0 / size + slopes @ moved
            sizes[t, :t] = weights.sum(1) @ sizes[:t, :t]
            moves[t] = np.where(np.arange(count + 1) < t, sizes[t], 0.0) + slopes @ moves
            if t < count:
                tilts[t] = tilt.reshape(-1, count + 1)[self.parents[t]]
                tilts[t, :, t] -= 1.0
                fraction = np.mod(size * family, 1.0)
                rounded[t] = (fraction * (1.0 - fraction)).sum() / size**2
        return moved[count], float((rounded * np.square(moves[count])).sum())


def _power(log_likelihood: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Temperature times log likelihood, which at temperature zero is zero, whatever the likelihood."""
    with np.errstate(invalid="ignore"):
        return np.where(
            temperature == 0.0, 0.0, temperature * np.where(np.isnan(log_likelihood), -np.inf, log_likelihood)
        )


def in_families(weights: np.ndarray, eve: np.ndarray, number: int, uniform: float) -> np.ndarray:
    """Places of particles drawn systematically in proportion to their weights, those of a family side by side.

    Args:
        weights: of sum one, of all particles in a row.
        eve: their families.
        number: how many to draw.
        uniform: between 0 and 1.
    """
    order = np.argsort(eve, kind="stable")
    cumulative = np.cumsum(weights[order])
    points = (np.arange(number) + uniform) / number * cumulative[-1]
    return order[np.minimum(np.searchsorted(cumulative, points, side="right"), len(order) - 1)]
