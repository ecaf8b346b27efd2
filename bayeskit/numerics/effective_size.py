"""What draws of a chain are worth."""

from __future__ import annotations

import numpy as np

__all__ = ["effective_sizes"]


def effective_sizes(draws: np.ndarray) -> np.ndarray:
    r"""The effective sample size of each element, from the autocorrelations of split chains.

    .. math:: n_\text{eff} = \frac{CN}{\hat\tau}, \qquad \hat\tau = -1 + 2 \sum_{t=0}^{K} \hat P_t, \qquad
              \hat P_t = \hat\rho_{2t} + \hat\rho_{2t+1}

    with :math:`\hat\rho_t = 1 - (W - \bar s_t) / \widehat{\mathrm{var}}^+`, which counts what chains differ by as
    correlation, and the sum up to the first pair that is not positive, made to fall monotonically.

    Args:
        draws: shape ``(chain, draw, element)``, at least four draws.

    Returns:
        Shape ``(element,)``; NaN where an element never moves, or is not finite; at most
        :math:`CN \log_{10} CN`.

    Example:
        >>> import numpy as np
        >>> from bayeskit.numerics.effective_size import effective_sizes
        >>> draws = np.random.default_rng(0).normal(size=(4, 1000, 1))
        >>> bool(3000 < effective_sizes(draws)[0] < 5000)
        True

    Reference: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Bayesian Analysis 16(2), equations 10 to 13;
    Geyer (1992), Statistical Science 7(4), section 3.3.
    """
    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, -half:]]).astype(float)
    chains, length = split.shape[:2]
    total = chains * length
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = _autocovariance(split).mean(axis=0)
        within = covariance[0] * length / (length - 1)
        spread = covariance[0] + split.mean(axis=1).var(axis=0, ddof=1)
        correlation = 1.0 - (within - covariance * length / (length - 1)) / spread
        correlation[0] = 1.0
        pairs = correlation[: length // 2 * 2].reshape(-1, 2, draws.shape[2]).sum(axis=1)
        positive = np.logical_and.accumulate(pairs > 0.0, axis=0)
        pairs = np.minimum.accumulate(pairs, axis=0)
        tau = -1.0 + 2.0 * np.where(positive, pairs, 0.0).sum(axis=0)
        tau = np.maximum(tau, 1.0 / np.log10(total))
        moves = (spread > 0.0) & np.isfinite(spread)
        return np.where(moves, total / tau, np.nan)


def _autocovariance(draws: np.ndarray) -> np.ndarray:
    """Of each chain, at every lag, shape ``(chain, lag, element)``; biased, as it should be for a sum of many."""
    length = draws.shape[1]
    centred = draws - draws.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * length, axis=1)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, 2 * length, axis=1)[:, :length] / length)
