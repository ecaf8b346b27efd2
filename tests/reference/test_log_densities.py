r"""Each NumPyro model has the log density of the description, whatever its parameterisation.

With unconstrained values :math:`z` of the model and :math:`x(z)` the parameters of the description,

.. math:: \log \pi_\text{model}(z) - \log |\det \partial x / \partial z| = \log p_\text{described}(x(z)) + \text{const}.
"""

from __future__ import annotations

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import constrain_fn, initialize_model, potential_energy

from .described import DESCRIBED
from .table import REFERENCES, Reference

# Relative to the largest density. The path of the predator-prey system is solved to an error of 1e-6 a step.
TOLERANCE = {"hudson_lynx_hare-lotka_volterra": 1e-5}
NUM_POINTS = 3


def free_coordinates(reference: Reference) -> dict[str, int | None]:
    """Sites of the description, and how many elements are free: one less than all on a simplex."""
    sites = dict.fromkeys(name.split("[")[0] for name in reference.values)
    return {site: -1 if reference.name.startswith("hmm") and site != "mu" else None for site in sites}


def log_densities(reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Log density of the description's parameters at random points, by the model and by the description."""
    data = {k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in reference.data.items()}
    start = jax.eval_shape(
        lambda: (
            initialize_model(jax.random.key(0), reference.model, model_kwargs=data, validate_grad=False).param_info.z
        )
    )
    flat, unflatten = jax.flatten_util.ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape), start))

    def parameters(z: jax.Array) -> dict[str, jax.Array]:
        return constrain_fn(reference.model, (), data, unflatten(z), return_deterministic=True)

    def coordinates(z: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        values = parameters(z)
        free = [values[site].ravel()[:stop] for site, stop in free_coordinates(reference).items()]
        return jnp.concatenate(free), values

    @jax.jit
    def by_model(z: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        jacobian, values = jax.jacrev(coordinates, has_aux=True)(z)
        assert jacobian.shape == (z.size, z.size)
        joint = -potential_energy(reference.model, (), data, unflatten(z))
        return joint - jnp.linalg.slogdet(jacobian)[1], values

    ours, theirs = [], []
    for point in np.random.default_rng(0).uniform(-0.7, 0.7, (NUM_POINTS, flat.size)):
        density, values = by_model(jnp.asarray(point))
        described = {name: np.asarray(value) for name, value in values.items()}
        ours.append(float(density))
        theirs.append(float(DESCRIBED[reference.name](reference.content["data"], described)))
    return np.array(ours), np.array(theirs)


# solved step by step, a path is long to compile; a Brownian motion is an autoregression, which another row has
FULL = ("hudson_lynx_hare-lotka_volterra", "brownian_motion_unknown_scales_missing_middle_observations")


@pytest.mark.parametrize(
    "reference",
    [pytest.param(row, id=row.name, marks=pytest.mark.full if row.name in FULL else ()) for row in REFERENCES],
)
def test_model_has_the_described_density(reference: Reference) -> None:
    ours, theirs = log_densities(reference)
    assert np.ptp(theirs) > 0.1, "the points do not differ"
    tolerance = 1e-8 + TOLERANCE.get(reference.name, 1e-12) * np.abs(theirs).max()
    np.testing.assert_allclose(ours - theirs, (ours - theirs)[0], rtol=0, atol=tolerance)
