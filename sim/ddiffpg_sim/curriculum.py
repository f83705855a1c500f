"""How the range of what varies grows with success."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ddiffpg_core.strict_yaml import ConfigError


@dataclass(frozen=True)
class Curriculum:
    """It begins with the share ``start`` of the full range. Each time that ``episodes`` have ended, ``step`` is added
    where more than ``raise_above`` of these reached a goal, and taken away where fewer than ``lower_below`` did."""

    start: float = 0.0
    step: float = 0.1
    episodes: int = 200
    raise_above: float = 0.6
    lower_below: float = 0.3

    @classmethod
    def from_plain(cls, raw: Any, where: str) -> Curriculum:
        """ConfigError naming ``where``, the field and its value where one makes no sense."""
        types = {f.name: type(f.default) for f in fields(cls)}
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: curriculum is {raw!r}: expected keys and values")
        for name, value in raw.items():
            if name not in types:
                raise ConfigError(f"{where}: unknown key 'curriculum.{name}' (known: {', '.join(types)})")
            if types[name] is int:
                fits, wanted = type(value) is int and value >= 1, "a whole number of at least 1"
            else:
                fits, wanted = type(value) in (int, float) and 0.0 <= value <= 1.0, "a number from 0 to 1"
            if not fits:
                raise ConfigError(f"{where}: curriculum.{name} is {value!r}: expected {wanted}")
        made = cls(**raw)
        if made.lower_below > made.raise_above:
            raise ConfigError(f"{where}: curriculum.lower_below is {made.lower_below}: expected no more than "
                              f"raise_above ({made.raise_above})")  # fmt: skip
        return made


class Progress:
    """Where a curriculum is: the ``share`` of the full range, and the ``success`` that last decided of it."""

    def __init__(self, curriculum: Curriculum) -> None:
        self._curriculum = curriculum
        self.begin()

    def begin(self) -> None:
        """Anew."""
        self.share, self.success = self._curriculum.start, 0.0
        self._ended = self._won = 0

    def note(self, ended: int, won: int) -> None:
        """So many episodes ended, of which so many reached a goal."""
        c = self._curriculum
        self._ended, self._won = self._ended + ended, self._won + won
        if self._ended >= c.episodes:
            self.success = self._won / self._ended
            change = c.step * ((self.success > c.raise_above) - (self.success < c.lower_below))
            self.share = min(max(self.share + change, c.start), 1.0)
            self._ended = self._won = 0

    def state_dict(self) -> dict[str, Any]:
        return {"share": self.share, "success": self.success, "ended": self._ended, "won": self._won}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.share, self.success, self._ended, self._won = (state[k] for k in ("share", "success", "ended", "won"))
