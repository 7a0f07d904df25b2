"""Questions of what a model writes."""

from mechcausal.audits.behavior.generated import Generated as Generated
