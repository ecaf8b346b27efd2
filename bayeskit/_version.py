"""The version, which the tag of a release gives (``tool.hatch.version`` in ``pyproject.toml``)."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("bayeskit")
except PackageNotFoundError:  # run from a folder of sources that is not installed
    __version__ = "0+unknown"
