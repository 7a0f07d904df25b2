"""What people read: the page, the tour of the embedded model, the diagnosis of an installation."""
