# The public names of this room and where each is defined; they are loaded when they are first used.
from .sampling import noise_scales as noise_scales
from .sampling import sample_ids as sample_ids
