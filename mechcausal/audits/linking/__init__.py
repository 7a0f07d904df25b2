"""Links of features and heads to concepts, as questions."""
