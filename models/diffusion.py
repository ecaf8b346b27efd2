r"""Diffusion and place of a source from noisy readings of a heated rod, whose ends are kept cold.

$$u_t = D\, u_{xx} + 10 \exp\Bigl(-\tfrac{(x - c)^2}{2 \cdot 0.1^2}\Bigr), \qquad u(0, t) = u(1, t) = u(x, 0) = 0$$

$$D \sim \mathrm{LogNormal}(-1, 1), \qquad c \sim \mathrm{Uniform}(0.1, 0.9), \qquad
  \text{reading}_i \sim \mathrm{Normal}\bigl(u(x_i, t_i), \sigma^2\bigr)$$

The field $u$ is a Gaussian process that is conditioned on the equation. It is integrated out: what is sampled are
`diffusion`, `place` and the standard deviation `noise`.
The observation is one multivariate value, so there is no likelihood by element and no leave-one-out.
"""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from bayeskit.models import spectral_pde as sp


def heating(x, t, place):
    """The same at all times."""
    del t
    return 10.0 * jnp.exp(-((x - place) ** 2) / (2 * 0.1**2))


problem = sp.Problem(
    domain=[(0.0, 1.0), (0.0, 1.0)],
    operator=lambda u, diffusion: u.t - diffusion * u.xx,
    source=heating,
    boundary=0.0,
    initial=0.0,
    coefficients={"diffusion": dist.LogNormal(-1.0, 1.0), "place": dist.Uniform(0.1, 0.9)},
    num_nodes=(25, 25),
)
# Given, since learning it would take as long as the chains: length scales of a quarter of the rod and four fifths of
# the time, at which the density of the posterior is, where it matters, that of the sine series to 0.1 nats.
spectrum = [sp.Spectrum(1.0, 0.0, 0.25), sp.Spectrum(1.0, 0.0, 0.8)]
model = sp.model(problem, spectrum=spectrum)


def data(columns):
    """Points (x, t), a row a reading."""
    return {"at": np.stack([columns["x"], columns["t"]], axis=1), "readings": columns["reading"]}
