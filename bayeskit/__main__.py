"""``python -m bayeskit`` is the `bayeskit` command."""

from bayeskit.cli import main

if __name__ == "__main__":
    main()
