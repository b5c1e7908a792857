# The public names of this room and where each is defined; they are loaded when they are first used.
from .ensemble import Ensemble as Ensemble
from .loss import loss_nats as loss_nats
from .size import hidden_size_for as hidden_size_for
from .size import model_parameters as model_parameters
from .structure import model_with as model_with
from .structure import parameter_table as parameter_table
