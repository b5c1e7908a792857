# The public names of this room and where each is defined; they are loaded when they are first used.
from .job import make_job as make_job
from .loop import Loop as Loop
from .member_runs import MemberResult as MemberResult
from .report import Report as Report
from .run_devices import prepare_devices as prepare_devices
from .state import TrainState as TrainState
from .state import initial_train_state as initial_train_state
from .step import recent_accuracy as recent_accuracy
from .sweeps import Group as Group
from .sweeps import Sweep as Sweep
from .sweeps import member_id as member_id
from .sweeps import read_rows as read_rows
from .values import group_by_structure as group_by_structure
