"""What `import bayeskit` costs over importing JAX and NumPyro, at most 0.3 s, and `bayeskit --help`, at most 0.5 s.

python benchmarks/imports.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(statement: str) -> float:
    """Wall time of a fresh interpreter that runs the statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the times (medians of five, interleaved) and their bars."""
    pairs = [(seconds("import jax, numpyro"), seconds("import jax, numpyro, bayeskit")) for _ in range(5)]
    base, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"import jax, numpyro            {base:.2f} s\n... and bayeskit               {ours:.2f} s")
    print(f"difference                     {ours - base:.2f} s (bar: 0.30)")
    command = "import sys; sys.argv = ['bayeskit', '--help']; from bayeskit.__main__ import main; main()"
    print(f"bayeskit --help                {statistics.median(seconds(command) for _ in range(5)):.2f} s (bar: 0.50)")


if __name__ == "__main__":
    main()
