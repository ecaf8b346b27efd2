"""`value_model`: a posterior over linear values, by any inference; and its two kinds of uncertainty."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Bool, Float
from numpyro.distributions import Distribution
from numpyro.infer.reparam import LocScaleReparam

from bayeskit._settings import require
from bayeskit._typing import Array, ArrayLike
from bayeskit.distributions import GeneralizedNormal
from bayeskit.errors import DataError, MethodError
from bayeskit.models.td_error.checks import finite
from bayeskit.models.td_error.evaluation import check_condition, moments
from bayeskit.models.td_error.noise import maximum_likelihood, response, spread
from bayeskit.models.td_error.trajectories import Trajectories
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Pilot", "uncertainty", "value_model"]

SCORING_STEPS = 12
SHAPE_PRIOR = (math.log(1.5), 0.4)
UNEQUAL = 1e-3
SCALE_PRIOR_SD = 1.0
"""Of the logarithm of the scale around that of the pilot: a factor of seven either way with 95%."""


class Pilot(eqx.Module):
    r"""What the likelihood is linearised at, computed from the record once.

    Attributes:
        weights: $\overline w$.
        transition: $F$, least squares of next features on features.
        root: a root of the covariance of the pilot.
        centre: what the root makes the pilot of.
        scale: of the errors.
        shape: likewise.
    """

    weights: Float[Array, " features"]
    transition: Float[Array, "features features"]
    root: Float[Array, "features features"]
    centre: Float[Array, " features"]
    scale: Float[Array, ""]
    shape: Float[Array, ""]


class Facts(NamedTuple):
    """Whether there is any noise, and the p-value of one law in all states."""

    is_noisy: Bool[Array, ""]
    one_law_p_value: Float[Array, ""]


def value_model(
    chain: Trajectories,
    *,
    states: ArrayLike | None = None,
    prior: Distribution | None = None,
    heteroscedastic: bool = False,
) -> Callable[..., None]:
    r"""A NumPyro model of rewards whose latent weights are those of a linear value function.

    With $F$ the least squares fit of next features to features, and the pilot estimate $\overline w$ that solves
    $\sum_t \phi_t \psi(\delta_t) = 0$,

    $$r_t \sim \mathrm{GN}\bigl(\phi_t \cdot (w - \gamma F (w - \overline w)) - \gamma\, \phi_{t+1} \cdot \overline w,\;
    a,\; b\bigr),$$

    which is two-stage least squares as a likelihood: not the regression of rewards on $\phi_t - \gamma \phi_{t+1}$,
    which is biased where transitions are random. Noise is symmetric, and it has one law in all states; or, if asked
    for, the scale $a\, e^{\phi \cdot c}$ with $c \sim N(0, \tau^2 I)$ and $\tau$ half normal.

    Its arguments are `features`, `next_features` and `rewards`, as in `chain.data`; rewards may be left out to predict
    them. Its latent sites are `whitened` (unless there is a prior) and `whitened_noise`, in units in which the
    posterior is nearly standard normal; deterministic ones are `weights`, `scale`, `shape`, `value`, shape `(states,)`,
    and `error_variance`, one number or shape `(states,)`. Where the scale varies there are also `scale_change`, which
    is $c$, and `scale_change_sd`, which is $\tau$. Sums over thousands of transitions want 64-bit numbers.

    Args:
        chain: what was recorded.
        states: features of the states at which values are wanted, shape `(states, features)`; by default every
            feature alone, the states of a table.
        prior: of the weights, with event shape `(features,)`; by default normal around zero with the covariance of
            the pilot times the number of transitions, the information of one of them.
        heteroscedastic: let the scale of the noise depend on the features.

    Raises:
        DataError: features that are linearly dependent, rewards without noise, or states of another shape.
        MethodError: no trajectories, or a prior of another shape.

    Warns:
        UserWarning: the size of errors depends on the features, and the model does not say so (Koenker's test).

    Example:
        >>> import bayeskit as bk, numpyro.distributions as dist
        >>> from bayeskit.models import td_error
        >>> walk = td_error.random_walk(3)
        >>> chain = walk.simulate(500, noise=dist.Laplace(0.0, 0.3), key=0)
        >>> method = bk.HMC(num_chains=1, num_warmup=200, num_draws=200)
        >>> post = bk.infer(td_error.value_model(chain), chain.data, method, key=0, progress=False)
        >>> post.posterior["value"].shape
        (1, 200, 3)

    References: Bradtke and Barto (1996), "Linear least-squares algorithms for temporal difference learning"; Zellner
    (1986), "On assessing prior distributions and Bayesian regression analysis with g-prior distributions".
    """
    if not isinstance(chain, Trajectories):
        raise MethodError(f"chain must be Trajectories, got {type(chain).__name__}")
    size = chain.features.shape[1]
    rows = jnp.eye(size, dtype=chain.features.dtype) if states is None else finite(states, "states")
    if rows.ndim != 2 or rows.shape[1] != size:
        raise DataError(f"states must have shape (states, {size}), got {rows.shape}")
    if prior is not None and not (
        isinstance(prior, Distribution) and prior.batch_shape == () and prior.event_shape == (size,)
    ):
        raise MethodError(f"prior must be a distribution with event shape ({size},), got {prior!r}")
    check_condition(moments(chain).matrix)
    require(isinstance(heteroscedastic, bool), "heteroscedastic", heteroscedastic, "True or False")
    pilot, facts = pilot_of(chain)
    if not bool(facts.is_noisy):
        raise DataError("rewards have no noise that could be seen, so that there is no likelihood; use method='lstd'")
    if not heteroscedastic and float(facts.one_law_p_value) < UNEQUAL:
        warnings.warn(
            f"the size of TD errors depends on the features (p = {float(facts.one_law_p_value):.1g} for one law), so "
            "that intervals of values are too narrow in some states and too wide in others; use heteroscedastic=True",
            stacklevel=2,
        )

    def rewards_model(features: ArrayLike, next_features: ArrayLike, rewards: ArrayLike | None = None) -> None:
        sites(pilot, chain.discount, rows, prior, heteroscedastic, features, next_features, rewards)

    return rewards_model


def sites(
    pilot: Pilot,
    discount: Array,
    rows: Array,
    prior: Distribution | None,
    heteroscedastic: bool,
    features: ArrayLike,
    next_features: ArrayLike,
    rewards: ArrayLike | None,
) -> None:
    """The sites of the model."""
    shapes = jnp.shape(features), jnp.shape(next_features)
    if shapes[0] != shapes[1]:
        raise DataError(f"next_features must have the shape of features, {shapes[0]}; got {shapes[1]}")
    if prior is None:
        # around the pilot and in units of its errors, in which the posterior is nearly standard normal
        unit_information = dist.Normal(-pilot.centre, math.sqrt(len(jnp.asarray(features)))).to_event(1)
        moved = pilot.weights + pilot.root @ numpyro.sample("whitened", unit_information)
        weights = numpyro.deterministic("weights", moved)
    else:
        weights = numpyro.sample("weights", prior)
    # logarithms of scale and shape likewise, whose standard errors are about as large as this
    unit = 2 / math.sqrt(len(jnp.asarray(features)))
    centres = jnp.stack([jnp.zeros_like(pilot.scale), SHAPE_PRIOR[0] - jnp.log(pilot.shape)]) / unit
    spreads = jnp.array([SCALE_PRIOR_SD, SHAPE_PRIOR[1]]) / unit
    logs = unit * numpyro.sample("whitened_noise", dist.Normal(centres, spreads).to_event(1))
    scale = numpyro.deterministic("scale", pilot.scale * jnp.exp(logs[0]))
    shape = numpyro.deterministic("shape", pilot.shape * jnp.exp(logs[1]))
    numpyro.deterministic("value", rows @ weights)
    scales, of_rows = scale, scale
    if heteroscedastic:
        sd = numpyro.sample("scale_change_sd", dist.HalfNormal(1.0))
        with numpyro.handlers.reparam(config={"scale_change": LocScaleReparam(0.0)}):
            change = numpyro.sample("scale_change", dist.Normal(0.0, sd).expand([len(pilot.weights)]).to_event(1))
        scales, of_rows = scale * jnp.exp(jnp.asarray(features) @ change), scale * jnp.exp(rows @ change)
    numpyro.deterministic("error_variance", spread(of_rows, shape))
    # in this order there is no product of matrices
    now = weights - discount * (pilot.transition @ (weights - pilot.weights))
    location = jnp.asarray(features) @ now - discount * (jnp.asarray(next_features) @ pilot.weights)
    with numpyro.plate("transition", len(location)):
        numpyro.sample("rewards", GeneralizedNormal(location, scales, shape), obs=rewards)


@safe_jit
def pilot_of(chain: Trajectories) -> tuple[Pilot, Facts]:
    r"""The pilot, by scoring from LSTD, and what is to be said of the errors.

    A step adds $A^{-1} \sum_t \phi_t \psi(\delta_t)$; a half of it, so that steps end where $\psi$ has jumps.
    """
    sums = moments(chain)

    def step(_: int, weights: Array) -> Array:
        errors = chain.errors(weights)
        move = jnp.linalg.solve(sums.matrix, sums.traces.T @ response(errors, maximum_likelihood(errors)))
        return weights + move / 2

    weights = jax.lax.fori_loop(0, SCORING_STEPS, step, jnp.linalg.solve(sums.matrix, sums.vector))
    errors = chain.errors(weights)
    noise = maximum_likelihood(errors)
    second = chain.features.T @ chain.features
    transition = jnp.linalg.solve(second, chain.features.T @ chain.next_features)
    # with second = L L', A^-1 second A^-T = (A^-1 L)(A^-1 L)'
    root = jnp.linalg.solve(sums.matrix, jnp.linalg.cholesky(second))
    variance = jnp.mean(response(errors, noise) ** 2)
    root = root * jnp.sqrt(variance)
    centre = jnp.linalg.solve(root, weights)
    tiny = jnp.finfo(errors.dtype).tiny
    size = jnp.maximum(jnp.max(jnp.abs(chain.rewards)), tiny)
    is_noisy = jnp.max(jnp.abs(errors)) > 1e3 * jnp.finfo(errors.dtype).eps * size
    # Koenker (1981): the number of data times the R² of a regression of the squares
    squares = errors**2 - jnp.mean(errors**2)
    along = chain.features.T @ squares
    statistic = len(errors) * (along @ jnp.linalg.solve(second, along)) / jnp.maximum(squares @ squares, tiny)
    one_law = 1 - jax.scipy.special.gammainc(max(len(weights) - 1, 1) / 2, statistic / 2)
    return Pilot(weights, transition, root, centre, noise.scale, noise.shape), Facts(is_noisy, one_law)


def uncertainty(post: Any) -> xr.Dataset:
    r"""The variance of a target $r + \gamma v(s')$ given the state, in two parts.

    `aleatoric` is the posterior mean of the variance of the noise, which stays; `epistemic` the posterior variance of
    the value, which falls as data accumulate; `total` their sum.

    Args:
        post: the DataTree of a :func:`value_model`.

    Returns:
        A Dataset of three variables along the states.

    Raises:
        DataError: a result without the sites `value` and `error_variance`, or in which these have other shapes; or
            fewer than two draws, which have no variance.

    Example:
        >>> import numpy as np, xarray as xr
        >>> from bayeskit.models import td_error
        >>> values = (("chain", "draw", "state"), np.array([[[0.0], [2.0]]]))
        >>> posterior = xr.Dataset({"value": values, "error_variance": (("chain", "draw"), np.array([[3.0, 5.0]]))})
        >>> parts = td_error.uncertainty(xr.DataTree.from_dict({"posterior": posterior}))
        >>> float(parts.aleatoric[0]), float(parts.epistemic[0]), float(parts.total[0])
        (4.0, 2.0, 6.0)
    """
    import xarray as xr

    posterior: Any = post["posterior"] if "posterior" in getattr(post, "children", {}) else {}
    for name in ("value", "error_variance"):
        if name not in posterior:
            raise DataError(f"post has no site {name!r} in its posterior; it must be a result of value_model")
    sample = ("chain", "draw")
    value, noise = posterior["value"], posterior["error_variance"]
    states = value.shape[2:]
    if any(one.dims[:2] != sample for one in (value, noise)) or len(states) != 1 or noise.shape[2:] not in ((), states):
        raise DataError(
            "value must have dimensions (chain, draw, state), and error_variance these or (chain, draw); "
            f"got shapes {value.shape} and {noise.shape}; it must be a result of value_model"
        )
    if value.sizes["chain"] * value.sizes["draw"] < 2:
        raise DataError("post has a single draw, which has no variance")
    epistemic = value.var(sample, ddof=1, skipna=False)
    epistemic = epistemic.rename({epistemic.dims[0]: "state"})
    mean = noise.mean(sample, skipna=False)
    aleatoric = xr.zeros_like(epistemic) + (mean.rename({mean.dims[0]: "state"}) if mean.dims else mean)
    return xr.Dataset({"aleatoric": aleatoric, "epistemic": epistemic, "total": aleatoric + epistemic})
