"""`BridgeConditional`: the plan given its start, as a NumPyro distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.util import lazy_property

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError
from bayeskit.models.schrodinger_bridge.bridge import Bridge, one_program
from bayeskit.numerics.gaussian_mixture_covariance import Diagonal, Full

__all__ = ["BridgeConditional"]


class BridgeConditional(dist.Distribution):
    r"""The law of $x_1$ given $x_0$ under a light Schrödinger bridge.

    It is $\sum_k w_k(x_0) N(r_k + S_k x_0, \varepsilon S_k)$, see :class:`bayeskit.models.schrodinger_bridge.Bridge`.

    As a likelihood it depends on the pairing of the points only through $x_0^\top x_1 / \varepsilon$, which is
    free of the parameters: $\sum_i \log \pi(x_{1i} \mid x_{0i}) = \mathrm{const} + \sum_i \log v(x_{1i}) - \sum_i
    \log c(x_{0i})$. So a posterior over bridges needs two samples of the same size, coupled or not.

    Args:
        x0: starts, shape `(n, d)`; the batch shape is `(n,)`.
        epsilon: $\varepsilon$.
        log_alpha: shape `(k,)`; only differences matter.
        r: shape `(k, d)`.
        S_tril: Cholesky factors of $S_k$, shape `(k, d, d)`; or
        S_diag: the diagonals of $S_k$, shape `(k, d)`.

    Raises:
        DataError: shapes that do not fit, or not exactly one of ``S_tril`` and ``S_diag``.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> from bayeskit.models import schrodinger_bridge
        >>> def model(x0, x1=None):
        ...     r = numpyro.sample("r", dist.Normal(0.0, 3.0).expand([2, 1]).to_event(2))
        ...     s = numpyro.sample("s", dist.LogNormal(0.0, 1.0).expand([2, 1]).to_event(2))
        ...     with numpyro.plate("point", len(x0)):
        ...         numpyro.sample(
        ...             "x1", schrodinger_bridge.BridgeConditional(x0, 0.5, jnp.zeros(2), r, S_diag=s), obs=x1
        ...         )
        >>> schrodinger_bridge.BridgeConditional(
        ...     jnp.zeros((3, 1)), 0.5, jnp.zeros(1), jnp.zeros((1, 1)), S_diag=jnp.ones((1, 1))
        ... ).mean
        Array([[0.],
               [0.],
               [0.]], dtype=...)
    """

    arg_constraints = {  # noqa: RUF012
        "x0": constraints.independent(constraints.real, 1),
        "log_alpha": constraints.real_vector,
        "r": constraints.independent(constraints.real, 2),
        "S_tril": constraints.independent(constraints.lower_cholesky, 1),
        "S_diag": constraints.independent(constraints.positive, 2),
        "epsilon": constraints.positive,
    }
    support = constraints.real_vector
    reparametrized_params = ["r"]  # noqa: RUF012
    pytree_data_fields = ("x0", "epsilon", "log_alpha", "r", "S_tril", "S_diag")

    def __init__(
        self,
        x0: ArrayLike,
        epsilon: ArrayLike,
        log_alpha: ArrayLike,
        r: ArrayLike,
        *,
        S_tril: ArrayLike | None = None,
        S_diag: ArrayLike | None = None,
        validate_args: bool | None = None,
    ):
        given = S_tril if S_diag is None else S_diag
        if given is None or (S_tril is not None and S_diag is not None):
            raise DataError("give exactly one of S_tril and S_diag")
        num, size = jnp.shape(r)[-2:] if jnp.ndim(r) == 2 else (-1, -1)
        expected = (num, size) if S_diag is not None else (num, size, size)
        if (
            jnp.ndim(x0) != 2
            or jnp.shape(x0)[1] != size
            or jnp.shape(log_alpha) != (num,)
            or jnp.shape(given) != expected
        ):
            raise DataError(
                "x0, log_alpha, r and the maps must have shapes (n, d), (k,), (k, d) and (k, d, d) or (k, d); got "
                f"{jnp.shape(x0)}, {jnp.shape(log_alpha)}, {jnp.shape(r)} and {jnp.shape(given)}"
            )
        self.x0, self.epsilon, self.log_alpha, self.r = (jnp.asarray(item) for item in (x0, epsilon, log_alpha, r))
        if S_tril is not None:
            self.S_tril = jnp.asarray(S_tril)
        else:
            self.S_diag = jnp.asarray(S_diag)
        super().__init__(batch_shape=(jnp.shape(x0)[0],), event_shape=(size,), validate_args=validate_args)

    @property
    def bridge(self) -> Bridge:
        """The bridge of these parameters."""
        maps = Diagonal(self.S_diag) if "S_diag" in self.__dict__ else Full(self.S_tril)
        return Bridge(self.epsilon, self.log_alpha, self.r, maps)

    @lazy_property  # type: ignore[untyped-decorator]
    def S_tril(self) -> Array:
        """Cholesky factors of the maps."""
        return jax.vmap(jnp.diag)(jnp.sqrt(self.S_diag))

    @lazy_property  # type: ignore[untyped-decorator]
    def S_diag(self) -> Array:
        """The diagonals of the maps."""
        return jnp.sum(self.S_tril**2, axis=-1)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """One draw for each start."""
        draws = 1
        for length in sample_shape:
            draws *= length
        many = _sample(self.bridge, self.x0, jax.random.split(key, draws))
        return many.reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, value: Array) -> Array:
        """The log density of each end given its start.

        Raises:
            DataError: the ends are not one for each start, `(..., n, d)`.
        """
        expected = (*self.batch_shape, *self.event_shape)
        if jnp.shape(value)[-2:] != expected:
            raise DataError(
                f"there must be one end for each start, shape (..., {expected[0]}, {expected[1]}); "
                f"got {jnp.shape(value)}"
            )
        flat = jnp.reshape(value, (-1, *self.batch_shape, *self.event_shape))
        terms = _log_density(self.bridge, self.x0, flat)
        return terms.reshape(jnp.shape(value)[:-1])

    @property
    def mean(self) -> Array:
        """The conditional mean."""
        return self.bridge.mean(self.x0)

    @property
    def variance(self) -> Array:
        """The conditional variances."""
        return jnp.diagonal(self.bridge.covariance(self.x0), axis1=1, axis2=2)


@one_program
def _sample(bridge: Bridge, x0: Array, keys: Array) -> Array:
    return jax.vmap(lambda key: bridge.sample(x0, key=key))(keys)


@one_program
def _log_density(bridge: Bridge, x0: Array, ends: Array) -> Array:
    return jax.vmap(lambda x1: bridge.log_density(x1, x0))(ends)
