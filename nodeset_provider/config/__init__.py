"""The server's configuration: a file, the environment and flags, each stronger than the one before.

Settings hold names of files and of Secrets, never what is in them: a configuration may be logged. May touch: the
environment and the files that it names.
"""

from nodeset_provider.config.checks import check
from nodeset_provider.config.errors import ConfigError
from nodeset_provider.config.settings import Settings
from nodeset_provider.config.sources import Loaded, load
from nodeset_provider.config.table import SETTINGS, Setting

__all__ = ["SETTINGS", "ConfigError", "Loaded", "Setting", "Settings", "check", "load"]
