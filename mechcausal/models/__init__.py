"""Models: loading, what each can do, and forwards under intervention."""
