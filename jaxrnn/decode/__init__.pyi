# The public names of this room and where each is defined; they are loaded when they are first used.
from .beams import Found as Found
from .beams import search_ids as search_ids
from .sampling import sample_ids as sample_ids
from .settings import Decoding as Decoding
from .settings import noise_scales as noise_scales
from .stops import stop_table as stop_table
from .writing import write_ids as write_ids
