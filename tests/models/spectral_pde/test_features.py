"""Features: they make the kernel and its derivatives, to rounding; the closed forms of the kernel are the reference."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.errors import MethodError
from bayeskit.models.spectral_pde.features import combinations, features, layout_for
from bayeskit.models.spectral_pde.kernels import SpectralMixture
from bayeskit.models.spectral_pde.spectrum import Spectrum

DOMAIN = (-0.5, 1.5)
POINTS = np.array([-0.5, -0.31, 0.1, 0.5, 0.502, 1.4, 1.5])
FEATURES = jax.jit(features, static_argnames=("layout", "order"))
SPECTRA = {  # trends first; length scales in units of the coordinate, on a domain of length 2
    "short": Spectrum([0.4, 1.5], [0.0, 3.0], [0.05, 0.08]),
    "long": Spectrum([1.5, 0.4], [0.0, 3.0], [3.0, 20.0]),
    "two trends": Spectrum([1.0, 0.3], [0.0, 0.0], [0.1, 10.0]),
    "no trend": Spectrum([0.02, 1.0], [8.0, 2.0], [1.0, 0.5]),
}


def layout_of(spectrum, precision=1e-12):
    trends = int(np.sum(np.asarray(spectrum.frequency) == 0))
    return layout_for(DOMAIN, np.asarray(spectrum.lengthscale).tolist(), trends, precision)


def stationary(spectrum, x, most):
    """The derivatives of the kernel at the differences of points, from its closed form."""
    kernel = SpectralMixture(spectrum.weight, spectrum.frequency, spectrum.lengthscale)
    apart = (x[:, None] - x).ravel()
    found = [jax.vmap(kernel.derivative(n, 0))(apart, jnp.zeros_like(apart)) for n in range(most + 1)]
    return jnp.stack(found).reshape(most + 1, len(x), len(x))


STATIONARY = jax.jit(stationary, static_argnames="most")


def closed(spectrum):
    """The covariances of all pairs of derivatives to order 4 at the points, shape `(5, 5, points, points)`."""
    found = np.asarray(STATIONARY(spectrum, POINTS, 8))
    return np.array([[(-1) ** j * found[i + j] for j in range(5)] for i in range(5)])


def deviations(expected):
    """The standard deviation of each derivative: what an error is a share of."""
    return np.sqrt(expected[range(5), range(5), 0, 0])


@pytest.mark.parametrize("name", SPECTRA)
def test_they_give_the_kernel_and_its_derivatives(name):
    spectrum = SPECTRA[name]
    layout = layout_of(spectrum)
    found = [np.asarray(m) for m in FEATURES(spectrum, combinations(spectrum, layout), POINTS, layout, 4)]
    assert found[0].shape == (len(POINTS), layout.size)
    expected = closed(spectrum)
    sd = deviations(expected)
    gaps = np.array(
        [[np.abs(a @ b.T - expected[i, j]).max() for j, b in enumerate(found)] for i, a in enumerate(found)]
    )
    assert np.all(gaps < 1e-10 * sd[:, None] * sd)
    assert gaps[0, 0] < 1e-14 * sd[0] ** 2


def test_a_smaller_precision_costs_features_and_no_more_than_it_says():
    spectrum = SPECTRA["long"]
    expected = closed(spectrum)[0, 0]
    sizes = []
    for precision in (1e-3, 1e-7):
        layout = layout_of(spectrum, precision)
        value = np.asarray(FEATURES(spectrum, combinations(spectrum, layout), POINTS, layout, 0)[0])
        assert np.abs(value @ value.T - expected).max() < precision * expected.max()
        sizes.append(layout.size)
    assert sizes[0] < sizes[1] < layout_of(spectrum).size


def test_long_length_scales_take_few_features():
    assert layout_of(SPECTRA["long"]).size < 50
    assert layout_for((0.0, 1.0), [100.0], 1, 1e-12).size < 10


def test_gradients_by_the_spectrum_are_those_of_the_kernel():
    """Of a fixed weighted sum of the covariances, with the matrices a constant."""
    spectrum = SPECTRA["short"]
    layout, sd = layout_of(spectrum), deviations(closed(spectrum))
    combined = combinations(spectrum, layout)
    picks = np.random.default_rng(0).normal(size=(3, 3, len(POINTS), len(POINTS)))
    picks /= (sd[:3, None] * sd[:3])[:, :, None, None]
    by_order = np.zeros((5, len(POINTS), len(POINTS)))
    for i, j in np.ndindex(3, 3):
        by_order[i + j] += (-1) ** j * picks[i, j]

    def by_features(spectrum):
        found = jnp.stack(features(spectrum, combined, POINTS, layout, 2))
        return jnp.sum(picks * jnp.einsum("iar,jbr->ijab", found, found))

    def by_kernel(spectrum):
        return jnp.sum(by_order * stationary(spectrum, POINTS, 4))

    found, expected = jax.jit(lambda s: (jax.grad(by_features)(s), jax.grad(by_kernel)(s)))(
        jax.tree.map(jnp.asarray, spectrum)
    )
    for field, first in (("weight", 0), ("frequency", 1), ("lengthscale", 0)):  # a trend has no frequency to move
        one, other = (np.asarray(getattr(each, field))[first:] for each in (found, expected))
        np.testing.assert_allclose(one, other, rtol=1e-8)


def test_a_length_scale_that_is_too_short():
    message = (
        "a length scale of 0.0001 on a domain of length 1 needs 15136 frequencies, more than 2000: the solution varies "
        "too fast for these features; use a smaller domain"
    )
    with pytest.raises(MethodError, match=f"^{re.escape(message)}$"):
        layout_for((0.0, 1.0), [1.0, 1e-4], 1, 1e-12)
