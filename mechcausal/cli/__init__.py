"""The command line. Heavy imports stay inside the commands, so that `--help` answers at once."""

from mechcausal.cli.app import app as app
from mechcausal.cli.app import main as main
