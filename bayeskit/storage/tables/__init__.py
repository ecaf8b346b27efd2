"""Tables as the arguments of a model."""

from bayeskit.storage.tables.arguments import Columns, columns, encoded
from bayeskit.storage.tables.encoding import Encoding, argument_of
from bayeskit.storage.tables.frames import is_table

__all__ = ["Columns", "Encoding", "argument_of", "columns", "encoded", "is_table"]
