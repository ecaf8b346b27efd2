r"""Gaussian process regression with tinygp inside a NumPyro model.

$$y \sim \mathrm{Normal}\bigl(m, \; K + \sigma^2 I\bigr), \qquad
  K_{ij} = \eta^2 \exp\Bigl(-\tfrac{(t_i - t_j)^2}{2 \ell^2}\Bigr)$$

The function itself is integrated out: only its mean, amplitude, length scale and the noise are sampled.
The observation is one multivariate value, so there is no likelihood by element and no leave-one-out.
"""

import numpyro
import numpyro.distributions as dist
from tinygp import GaussianProcess, kernels


def model(t, y=None):
    """`t` and `y` have an entry an observation, both in units of about one."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    amplitude = numpyro.sample("amplitude", dist.HalfNormal(2.0))
    length_scale = numpyro.sample("length_scale", dist.InverseGamma(3.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    kernel = amplitude**2 * kernels.ExpSquared(length_scale)
    process = GaussianProcess(kernel, t, mean=mean, diag=sigma**2)
    numpyro.sample("y", process.numpyro_dist(), obs=y)


def data(columns):
    """Ten milliseconds and fifty g become the units."""
    return {"t": columns["milliseconds"] / 10.0, "y": columns["acceleration"] / 50.0}
