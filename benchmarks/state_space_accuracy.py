"""How right the linear-time Gaussian process of an equation is, and tinygp's quasiseparable solver on the same.

    pip install mpmath gmpy2
    python benchmarks/state_space_accuracy.py [points]

The equation is u'' = f with two frequencies, its ends are given, and noise is 1e-6 of the standard deviation of what is
seen. The reference is the plain Kalman filter and smoother with 60 digits. About two minutes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import tinygp
from tinygp.kernels.quasisep import Quasisep

from bayeskit.models.spectral_pde import state_space
from bayeskit.models.spectral_pde.kernels import StudentT

jax.config.update("jax_enable_x64", True)
mp.mp.dps = 60
RELATIVE_NOISE = 1e-6


class WithCovariances(Quasisep):
    """The same process for tinygp, in coordinates in which its stationary covariance is the identity."""

    kernel: StudentT

    def design_matrix(self):
        raise NotImplementedError

    def coord_to_sortable(self, X):
        return X[0]

    def stationary_covariance(self):
        return jnp.eye(6 * self.kernel.weight.size)

    def observation_model(self, X):
        functional = state_space._functionals(self.kernel, X[0][None], jnp.stack(X[1:])[None])[0]
        return state_space._prior(self.kernel).root.T @ functional

    def transition_matrix(self, X1, X2):
        # tinygp multiplies the covariance from the right
        root = state_space._prior(self.kernel).root
        move = state_space._steps(self.kernel, (X2[0] - X1[0])[None]).transition[0]
        return jnp.linalg.solve(root, move @ root)


def exact(values):
    return [mp.mpf(float(value)) for value in values]


def block_diagonal(blocks):
    """Each block twice, along the diagonal."""
    matrix = mp.zeros(6 * len(blocks))
    for place in range(2 * len(blocks)):
        for i in range(3):
            for j in range(3):
                matrix[3 * place + i, 3 * place + j] = blocks[place // 2][i][j]
    return matrix


class Exact:
    """The process with 60 digits."""

    def __init__(self, kernel):
        self.weight, self.pulse = exact(kernel.weight), [2 * mp.pi * f for f in exact(kernel.frequency)]
        self.rate = [mp.sqrt(5) / length for length in exact(kernel.lengthscale)]
        moments = [mp.factorial(k) / mp.mpf(2) ** (k + 1) for k in range(5)]
        powers, factorials = (2, 1, 0), (2, 1, 1)
        block = [
            [mp.mpf(16) / 3 * moments[powers[i] + powers[j]] / (factorials[i] * factorials[j]) for j in range(3)]
            for i in range(3)
        ]
        self.stationary = block_diagonal([block] * len(self.weight))

    def move(self, distance):
        blocks = []
        for rate in self.rate:
            t = rate * distance
            blocks.append([[mp.exp(-t) * entry for entry in row] for row in ((1, t, t**2 / 2), (0, 1, t), (0, 0, 1))])
        return block_diagonal(blocks)

    def functional(self, x, c):
        entries = []
        for weight, pulse, rate in zip(self.weight, self.pulse, self.rate, strict=True):
            cos, sin = mp.cos(pulse * x), mp.sin(pulse * x)
            for wave, slope in ((cos, -pulse * sin), (sin, pulse * cos)):
                a0 = (c[0] - c[2] * pulse**2) * wave + c[1] * slope
                a1, a2 = (c[1] * wave + 2 * c[2] * slope) * rate, c[2] * wave * rate**2
                entries += [mp.sqrt(weight) * entry for entry in (a0 - a1 + a2, a1 - 2 * a2, a2)]
        return mp.matrix(entries)


def reference(kernel, x, coefficients, targets, noise_sd):
    """The log evidence, and the means and standard deviations of u, u' and u'' at the points, shape `(n, 3)`."""
    process, x = Exact(kernel), exact(x)
    mean, covariance, evidence = mp.zeros(process.stationary.rows, 1), process.stationary, mp.mpf(0)
    moves, predicted, filtered = [], [], []
    for i, point in enumerate(x):
        move = process.move(point - x[max(i - 1, 0)])
        mean = move * mean
        covariance = move * (covariance - process.stationary) * move.T + process.stationary
        moves.append(move)
        predicted.append((mean, covariance))
        functional = process.functional(point - x[0], exact(coefficients[i]))
        shared = covariance * functional
        variance = (functional.T * shared)[0] + mp.mpf(float(noise_sd[i])) ** 2
        residual = mp.mpf(float(targets[i])) - (functional.T * mean)[0]
        evidence -= residual**2 / variance / 2 + mp.log(2 * mp.pi * variance) / 2
        mean, covariance = mean + shared * (residual / variance), covariance - shared * shared.T / variance
        filtered.append((mean, covariance))
    means, sds = np.zeros((len(x), 3)), np.zeros((len(x), 3))
    for i in reversed(range(len(x))):
        if i < len(x) - 1:
            (early, spread), (ahead, known) = filtered[i], predicted[i + 1]
            gain = spread * moves[i + 1].T * mp.inverse(known)
            mean, covariance = early + gain * (mean - ahead), spread + gain * (covariance - known) * gain.T
        for order in range(3):
            functional = process.functional(x[i] - x[0], [mp.mpf(order == k) for k in range(3)])
            means[i, order] = float((functional.T * mean)[0])
            sds[i, order] = float(mp.sqrt((functional.T * covariance * functional)[0]))
    return float(evidence), means, sds


def equation(n):
    """The equation u'' = f on [0, 1] for u = sin(2 π 20 x) + sin(2 π x) / 2, with both ends."""
    x = np.concatenate([[0.0], np.linspace(0.0, 1.0, n - 2), [1.0]])
    fast, slow = 40 * np.pi, 2 * np.pi
    u = np.sin(fast * x) + 0.5 * np.sin(slow * x)
    targets = -(fast**2) * np.sin(fast * x) - 0.5 * slow**2 * np.sin(slow * x)
    coefficients, noise_sd = np.tile([0.0, 0.0, 1.0], (n, 1)), np.full(n, RELATIVE_NOISE * targets.std())
    ends = [0, -1]
    coefficients[ends], targets[ends], noise_sd[ends] = [1.0, 0.0, 0.0], u[ends], RELATIVE_NOISE * u.std()
    return x, coefficients, targets, noise_sd


def main(n: int) -> None:
    x, coefficients, targets, noise_sd = equation(n)
    for lengthscale in ([0.5, 0.8], [20.0, 30.0]):
        kernel = StudentT([1.0, 0.5], [1.0, 20.0], lengthscale)
        evidence, means, sds = reference(kernel, x, coefficients, targets, noise_sd)
        found = state_space.condition(kernel, x, coefficients, targets, noise_sd)
        print(f"length scales {lengthscale}, {n} points, log evidence {evidence:.6f}")
        print(f"  roots: log evidence {abs(float(found.log_evidence) / evidence - 1):.0e}")
        for order in range(3):
            mean, sd = np.asarray(found.mean(x, order)), np.asarray(found.sd(x, order))
            off = np.abs(mean - means[:, order]).max() / np.abs(means[:, order]).max()
            print(f"    derivative {order}: mean {off:.0e}, sd {np.abs(sd / sds[:, order] - 1).max():.0e}")
        gp = tinygp.GaussianProcess(
            WithCovariances(kernel), (jnp.asarray(x), *jnp.asarray(coefficients).T), diag=jnp.asarray(noise_sd) ** 2
        )
        values = (jnp.asarray(x), jnp.ones(n), jnp.zeros(n), jnp.zeros(n))
        log_evidence, posterior = gp.condition(jnp.asarray(targets), values, diag=0.0)
        off = np.abs(posterior.loc - means[:, 0]).max() / np.abs(means[:, 0]).max()
        sd = np.abs(np.sqrt(posterior.variance) / sds[:, 0] - 1).max()
        print(f"  covariances (tinygp): log evidence {abs(float(log_evidence) / evidence - 1):.0e}")
        print(f"    derivative 0: mean {off:.0e}, sd {sd:.0e}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 900)
