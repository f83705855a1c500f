# mujoco's types live in compiled modules that a type checker cannot look into: all of it is Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
