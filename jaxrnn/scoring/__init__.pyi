# The public names of this room and where each is defined; they are loaded when they are first used.
from .evaluation import Evaluation as Evaluation
from .evaluation import evaluate_ids as evaluate_ids
from .evaluation import evaluate_pieces as evaluate_pieces
