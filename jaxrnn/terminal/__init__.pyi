# The public names of this room and where each is defined; they are loaded when they are first used.
from .command import EXIT_OF_STOP as EXIT_OF_STOP
from .command import run_app as run_app
from .command import whole_number as whole_number
from .command import write_output as write_output
from .progress import Progress as Progress
from .progress import duration as duration
