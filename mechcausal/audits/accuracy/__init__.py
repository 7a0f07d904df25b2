"""Questions of accuracy and calibration."""
