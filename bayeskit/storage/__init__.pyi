from .data import read_data as read_data
from .files import load as load
from .files import save as save
from .run_store import Checkpoint as Checkpoint
from .run_store import RunStore as RunStore
from .tree import add_group as add_group
from .tree import make_tree as make_tree
from .tree import site_values as site_values
