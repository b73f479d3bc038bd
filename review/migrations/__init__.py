"""The steps that stores of older versions take, run by Alembic when a store is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

HEAD = "0008"
"""The newest step: a number, the same as in its file's name. Never change a step that a store may have taken."""


def configuration(connection: Connection) -> Config:
    """Alembic's, over a connection whose transaction it uses."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
