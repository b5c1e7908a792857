# The public names of this room and where each is defined; they are loaded when they are first used.
from .arrays import Prediction as Prediction
from .protocol import Batch as Batch
from .protocol import Objective as Objective
from .protocol import Score as Score
from .protocol import Task as Task
from .protocol import row_numbers as row_numbers
