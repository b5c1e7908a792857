# The public names and where each is defined; `__init__.py` loads them from here when they are first used.
from .cells import CELLS as CELLS
from .cells import Cell as Cell
from .cells import FullPeepholeLSTMCell as FullPeepholeLSTMCell
from .cells import GRUCarry as GRUCarry
from .cells import GRUCell as GRUCell
from .cells import LayerNormLSTMCell as LayerNormLSTMCell
from .cells import LSTMCarry as LSTMCarry
from .cells import LSTMCell as LSTMCell
from .cells import MultiplicativeLSTMCell as MultiplicativeLSTMCell
from .cells import PeepholeLSTMCell as PeepholeLSTMCell
from .cells import ResetBeforeGRUCell as ResetBeforeGRUCell
from .cells import TemporalGateCarry as TemporalGateCarry
from .cells import TemporalGateLSTMCell as TemporalGateLSTMCell
from .cells import VanillaCarry as VanillaCarry
from .cells import VanillaCell as VanillaCell
from .config import TrainConfig as TrainConfig
from .data.corpus import Corpus as Corpus
from .data.corpus import load_corpus as load_corpus
from .data.vocabulary import Vocabulary as Vocabulary
from .devices.mesh import use_cpu_devices as use_cpu_devices
from .engines import choose_engine as choose_engine
from .engines import unroll as unroll
from .errors import JaxrnnError as JaxrnnError
from .models.language_model import LanguageModel as LanguageModel
from .models.stack import Stack as Stack
from .run import Run as Run
from .run import open_run as open_run
from .training.start import resume as resume
from .training.start import train as train

__version__: str
