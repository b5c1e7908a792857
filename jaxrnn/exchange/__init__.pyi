# The public names of this room and where each is defined; they are loaded when they are first used.
from .from_torch import import_torch as import_torch
from .programs import export_programs as export_programs
from .to_torch import export_torch as export_torch
