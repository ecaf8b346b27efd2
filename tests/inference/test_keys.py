"""Keys on the host, against JAX's own."""

import jax
import numpy as np
import pytest

from bayeskit._keys import host_fold_in, host_key, host_split
from bayeskit.errors import MethodError

SEEDS = [0, 1, 7, 2**31 - 1, 2**31, 2**32 + 5, -3]


@pytest.mark.parametrize("seed", SEEDS)
def test_of_a_seed(seed):
    expected = np.asarray(jax.random.PRNGKey(seed))
    found = host_key(seed)
    assert found.dtype == np.uint32
    assert np.array_equal(found, expected)
    assert np.array_equal(host_key(np.int64(seed)), expected)
    assert np.array_equal(host_key(jax.random.key(seed)), expected)


@pytest.mark.parametrize("settings", [{}, {"jax_threefry_partitionable": False}, {"jax_default_prng_impl": "rbg"}])
def test_split_and_folded_in(settings):
    before = {name: getattr(jax.config, name) for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        raw = host_key(12)
        assert np.array_equal(raw, jax.random.PRNGKey(12))
        for number in (1, 2, 5):
            found = host_split(raw, number)
            assert found.dtype == np.uint32
            assert np.array_equal(found, jax.random.split(raw, number))
        for number in (0, 3, 2**32 - 1):
            assert np.array_equal(host_fold_in(raw, number), jax.random.fold_in(raw, np.uint32(number)))
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def test_refused():
    with pytest.raises(MethodError) as error:
        host_key(True)
    message = "key takes an integer seed or a key such as jax.random.key(0), got True"
    assert str(error.value) == message
