"""The incomplete gamma functions against numbers of 60 digits, each other, and their own inverse."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from bayeskit.numerics.incomplete_gamma import MOST, gamma_tails, log_gamma_quantile

# a, z, log P, log Q and their derivatives by a, by the confluent hypergeometric functions
EXACT = np.array(
    [
        (0.05, 1e-300, -34.511923322408427, -1.027216865271675e-15, -690.27768290691, 7.0906487760264e-13),
        (0.05, 0.9, -0.013707088343310241, -4.2966878983026123, -0.28807128925319, 20.872521071325),
        (0.05, 900.0, 0.0, -909.43220805727698, 0.0, 27.301348467475),
        (1.5, 0.3, -2.2675304819853354, -0.10933242286823161, -1.9563939258954, 0.22602828918139),
        (1.5, 40.0, -3.0692774861724172e-17, -38.022504393521652, -1.1285981939696e-16, 3.6770810037675),
        (10.0, 4.0, -4.8119185266851288, -0.0081654898548375994, -1.0100529555431, 0.0082813417540657),
        (10.0, 12.0, -0.27758939089994753, -1.4171983616525793, -0.12826949131289, 0.40091218860978),
        (10.0, 5000.0, 0.0, -4936.1452874965432, 0.0, 6.2656409227258),
        (100.0, 95.0, -1.1477285508168387, -0.38178297344425651, -0.1134090510305, 0.052723202079415),
    ]
)


def test_against_exact_numbers():
    a, z, *expected = EXACT.T
    tails = gamma_tails(jnp.asarray(a), jnp.log(z))
    for found, each in zip((tails.log_p, tails.log_q, tails.p_by_a, tails.q_by_a), expected, strict=True):
        np.testing.assert_allclose(found, each, rtol=1e-11, atol=1e-200)


def test_tails_beside_the_change_of_rule():
    """On its two sides different expansions are used; P, Q and the density are known."""
    a = np.repeat([0.01, 0.05, 0.5, 1.0, 7.0, 30.0, 100.0], 4)
    z = (1 + a) * np.resize([0.5, 1 - 1e-9, 1 + 1e-9, 2.0], a.size)
    tails = gamma_tails(jnp.asarray(a), jnp.log(z))
    np.testing.assert_array_equal(tails.is_near, np.resize([True, True, False, False], a.size))
    np.testing.assert_allclose(np.exp(tails.log_p), special.gammainc(a, z), rtol=1e-12)
    np.testing.assert_allclose(np.exp(tails.log_q), special.gammaincc(a, z), rtol=2e-12)
    mass = np.exp(a * np.log(z) - z - special.gammaln(a))
    np.testing.assert_allclose(tails.p_by_log_z, mass / special.gammainc(a, z), rtol=1e-11)
    np.testing.assert_allclose(tails.q_by_log_z, -mass / special.gammaincc(a, z), rtol=1e-11)


def test_quantiles_are_inverse():
    a, log_p = (
        each.ravel() for each in np.meshgrid([0.01, 0.05, 0.3, 1.0, 10.0, 100.0], -np.geomspace(1e-10, 600, 40))
    )
    log_q = np.log(-np.expm1(log_p))

    @jax.jit
    def back(a, log_p, log_q):
        low, high = log_gamma_quantile(a, log_p, log_q), log_gamma_quantile(a, log_q, log_p)
        return gamma_tails(a, low).log_p, gamma_tails(a, high).log_q

    for found in back(a, log_p, log_q):
        np.testing.assert_allclose(found, log_p, rtol=1e-12)


def test_more_than_the_terms_are_enough_for_is_refused():
    tails = gamma_tails(jnp.array([MOST, 1.01 * MOST]), jnp.log(jnp.array([90.0, 90.0])))
    np.testing.assert_array_equal(np.isnan(tails.log_p), [False, True])
    np.testing.assert_array_equal(np.isnan(tails.log_q), [False, True])
