"""What every part of the configuration has in common."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

HIGHEST_PORT = 65_535
Port = Annotated[int, Field(ge=0, le=HIGHEST_PORT)]
Seconds = Annotated[float, Field(gt=0)]


def _at_home(path: Path) -> Path:
    """Take `~` for the home of whoever runs us, as a shell does."""
    try:
        return path.expanduser()
    except RuntimeError:  # somebody whom this machine does not know
        raise ValueError(f"nobody has the home directory of {path}") from None


Location = Annotated[Path, AfterValidator(_at_home)]


class Section(BaseModel):
    """A part of the configuration; an unknown key in it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
