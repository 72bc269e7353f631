"""The command `limner`. Imports late: worker processes import this module too."""


def main() -> None:
    from pipeline.cli.app import app

    app()
