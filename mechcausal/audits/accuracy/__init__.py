"""Questions of accuracy and calibration."""

from mechcausal.audits.accuracy.accuracy import Accuracy as Accuracy
from mechcausal.audits.accuracy.calibration import Calibration as Calibration
