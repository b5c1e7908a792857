# The public names of this room and where each is defined; they are loaded when they are first used.
from .checkpoint_leaves import from_leaves as from_leaves
from .checkpoint_leaves import to_leaves as to_leaves
from .logs import json_number as json_number
from .logs import read_metrics as read_metrics
from .logs import read_samples as read_samples
from .small_files import read_json as read_json
from .small_files import write_atomically as write_atomically
