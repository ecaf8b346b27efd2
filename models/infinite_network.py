r"""Regression with an infinitely wide ReLU network whose last layer has a random scale.

$$\sigma^2 \sim \mathrm{InvGamma}(2, 2), \qquad f \mid \sigma^2 \sim \mathrm{GP}(0, \sigma^2 K), \qquad
  y \mid f, \sigma^2 \sim \mathrm{Normal}(f(t), \sigma^2 \tau^2)$$

with $K$ the NNGP kernel of two hidden layers. Function and scale are integrated out (a multivariate Student-t is left);
what is sampled are the standard deviations of the biases, layer by layer, and the noise. With ReLUs other weights would
change nothing but the scale of function and biases, so they stay at He's choice.
The observation is one multivariate value, so there is no likelihood by element and no leave-one-out.
"""

import math

import numpyro
import numpyro.distributions as dist

from bayeskit.models import nngp


def model(t, y=None):
    """`t` and `y` have an entry an observation, both in units of about one."""
    with numpyro.plate("layer", 3):
        bias_std = numpyro.sample("bias_std", dist.LogNormal(-0.5, 1.0))
    noise_variance = numpyro.sample("noise_variance", dist.LogNormal(-2.0, 1.0))
    network = nngp.serial(
        nngp.Dense(math.sqrt(2.0), bias_std[0]),
        nngp.relu,
        nngp.Dense(math.sqrt(2.0), bias_std[1]),
        nngp.relu,
        nngp.Dense(math.sqrt(2.0), bias_std[2]),
    )
    mixture = nngp.ScaleMixture(network, dist.InverseGamma(2.0, 2.0), noise_variance=noise_variance)
    numpyro.sample("y", mixture.prior(t[:, None]), obs=y)


def data(columns):
    """Ten milliseconds from the middle, and fifty g, become the units."""
    return {"t": (columns["milliseconds"] - 28.0) / 10.0, "y": columns["acceleration"] / 50.0}
