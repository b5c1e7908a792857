# The public names of this room and where each is defined; they are loaded when they are first used.
from .gradient_check import Method as Method
from .gradient_check import compare_gradients as compare_gradients
from .gradient_check import gradient_errors as gradient_errors
from .gradient_check import vanilla_loss_and_gradients as vanilla_loss_and_gradients
from .gradients_through_time import ACTIVATIONS as ACTIVATIONS
from .gradients_through_time import eigenvalues as eigenvalues
from .gradients_through_time import hidden_gradient_norms as hidden_gradient_norms
from .gradients_through_time import hidden_gradients as hidden_gradients
from .gradients_through_time import jacobian_norms as jacobian_norms
from .gradients_through_time import spectral_radius as spectral_radius
from .gradients_through_time import with_spectral_radius as with_spectral_radius
from .novelty import known_word_share as known_word_share
from .novelty import words_of as words_of
from .plots import Figure as Figure
