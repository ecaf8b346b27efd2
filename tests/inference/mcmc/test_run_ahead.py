"""Chains in threads, none waiting for another."""

import threading

import pytest

from bayeskit.inference.chains.threads import AHEAD, run_ahead


def count(state):
    chain, steps = state
    return (chain, steps + 1), steps


@pytest.mark.parametrize(("num_chains", "num_threads"), [(1, 1), (4, 2), (3, 8)])
def test_every_chain_makes_every_chunk_in_order(num_chains, num_threads):
    chunks = list(run_ahead(count, [(chain, 0) for chain in range(num_chains)], 12, num_threads))
    assert chunks == [[((chain, k + 1), k) for chain in range(num_chains)] for k in range(12)]


def test_a_slow_chain_holds_back_no_other():
    done, gate = [], threading.Event()

    def step(state):
        chain, steps = state
        if chain == 0:
            assert gate.wait(60)
        else:
            done.append(steps)
            if steps == AHEAD - 1:
                gate.set()  # chain 0 starts only when chain 1 is as far ahead as it may be
        return count(state)

    assert len(list(run_ahead(step, [(0, 0), (1, 0)], 3 * AHEAD, 2))) == 3 * AHEAD
    assert done == list(range(3 * AHEAD))


def test_no_chain_runs_too_far_ahead():
    seen = []

    def step(state):
        seen.append(state[1])
        return count(state)

    chunks = run_ahead(step, [(0, 0)], 100, 1)
    next(chunks)
    chunks.close()
    assert max(seen) <= AHEAD


def test_an_error_reaches_the_caller_and_ends_the_threads():
    def step(state):
        if state == (1, 2):
            raise ValueError("chain 1 broke")
        return count(state)

    before = threading.active_count()
    chunks = run_ahead(step, [(0, 0), (1, 0)], 10, 2)
    with pytest.raises(ValueError, match="chain 1 broke"):
        list(chunks)
    assert threading.active_count() == before
