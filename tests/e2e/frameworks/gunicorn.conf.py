"""gunicorn's settings for a preloaded application."""

preload_app = True


def post_fork(server: object, worker: object) -> None:
    """A forked process must not use its parent's connections."""
    from gunicorn_program import engine

    engine.dispose(close=False)
