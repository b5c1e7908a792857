# The public names of this room and where each is defined; they are loaded when they are first used.
from .adaptation import Adaptation as Adaptation
from .dynamic import evaluate_adapting as evaluate_adapting
from .dynamic import mean_squared_gradients as mean_squared_gradients
from .evaluation import Evaluation as Evaluation
from .evaluation import evaluate_ids as evaluate_ids
from .evaluation import evaluate_pieces as evaluate_pieces
