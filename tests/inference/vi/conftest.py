from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bayeskit as bk


@dataclass(frozen=True)
class Estimates:
    """Values and gradients over many keys, and the means with their standard errors."""

    values: np.ndarray
    gradients: np.ndarray

    @property
    def value(self) -> np.ndarray:
        return self.values.mean(0)

    @property
    def gradient(self) -> np.ndarray:
        return self.gradients.mean(0)

    @property
    def value_error(self) -> np.ndarray:
        return self.values.std(0) / np.sqrt(len(self.values))

    @property
    def gradient_error(self) -> np.ndarray:
        return self.gradients.std(0) / np.sqrt(len(self.gradients))

    def check(self, value: Any = None, gradient: Any = None, value_error: float = 0.0, gradient_error: float = 0.0):
        """|z| < 4, where the standard error is at most the one that is stated; exact where that is zero."""
        stated = ((value, self.value, self.value_error, value_error),)
        stated += ((gradient, self.gradient, self.gradient_error, gradient_error),)
        for truth, mean, error, bound in stated:
            if truth is None:
                continue
            truth = np.ravel(np.asarray(truth))
            assert np.all(error <= bound + 1e-9), f"standard error {error} exceeds {bound}"
            np.testing.assert_array_less(np.abs(mean - truth), 4.0 * error + 1e-8, err_msg=f"{mean} ± {error}: {truth}")

    def check_against(self, truth: Callable[[Any], Any], at: Any, *, value_error: float, gradient_error: float):
        """`check`, for an analytic function in NumPy: by a step along the imaginary axis its derivative is exact."""
        at, step = np.asarray(at, float), 1e-30
        moved = [truth(at + 1j * step * one.reshape(at.shape)) for one in np.eye(at.size)]
        self.check(np.real(moved[0]), np.imag(moved) / step, value_error=value_error, gradient_error=gradient_error)


@pytest.fixture
def estimate() -> Callable[..., Estimates]:
    """``estimate(f, *args, n)``: value and gradient (of the first argument) of an expectation, for ``n`` keys.

    Without the gradient the program is half as large.
    """

    def run(f: Callable[..., Any], *args: Any, n: int = 4000, key: int = 0, gradient: bool = True) -> Estimates:
        keys = jax.random.split(jax.random.PRNGKey(key), n)
        args = jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), args)
        one = bk.expectation(f)
        both = jax.value_and_grad(one, argnums=1) if gradient else lambda *given: (one(*given), jnp.zeros(0))
        values, gradients = jax.jit(jax.vmap(both, (0, *[None] * len(args))))(keys, *args)
        flat = [np.asarray(leaf).reshape(n, -1) for leaf in jax.tree.leaves(gradients)]
        return Estimates(np.asarray(values).reshape(n, -1), np.concatenate(flat, 1))

    return run
