# The public names of this room and where each is defined; they are loaded when they are first used.
from .session import Session as Session
from .session import Suggestion as Suggestion
