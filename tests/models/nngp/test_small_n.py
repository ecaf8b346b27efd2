"""What the random scale is worth when there are few data: the benchmark's own table, made small."""

import pytest

from benchmarks.nngp_small_n import TRUTH, excess_log_loss


@pytest.mark.parametrize("size", [pytest.param(3, marks=pytest.mark.full), 5])
def test_excess_log_loss_of_the_maximum_likelihood_scale(size):
    mean, error = excess_log_loss(size, 20_000, key=size)
    assert 4 * error < 0.06 * TRUTH[size]  # or the next line would say little
    assert abs(mean - TRUTH[size]) < 4 * error + 0.005 * TRUTH[size]  # the truth is given with three digits
