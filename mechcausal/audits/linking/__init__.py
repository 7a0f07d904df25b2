"""Links of features and heads to concepts, as questions."""

from mechcausal.audits.linking.links import Links as Links
