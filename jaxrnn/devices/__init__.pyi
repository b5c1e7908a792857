# The public names of this room and where each is defined; they are loaded when they are first used.
from .environment import fingerprint as fingerprint
from .environment import use_compile_cache as use_compile_cache
from .environment import use_deterministic_ops as use_deterministic_ops
from .hosts import is_writer as is_writer
from .hosts import of_writer as of_writer
from .joining import ALONE as ALONE
from .joining import Hosts as Hosts
from .joining import join_hosts as join_hosts
from .mesh import cores as cores
from .mesh import use_cpu_devices as use_cpu_devices
