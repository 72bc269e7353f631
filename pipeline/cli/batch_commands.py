"""`limner batches`: the commands and their options."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, Server, group

batches = group(help="Look at batches, cancel them, bring back what failed.", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The whole id of a batch.")]


@batches.command("show")
def show_batch(
    batch_id: BatchId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Where a batch stands. Piped: facts, then draft, final and states of each picture."""
    from pipeline.cli.batches import run_show
    from pipeline.cli.reach import speak

    speak(partial(run_show, batch_id=batch_id), server=server, home=home, as_json=as_json)


@batches.command("cancel")
def cancel_batch(
    batch_id: BatchId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Cancel all jobs of a batch that are not at rest; nothing more is bought for it."""
    from pipeline.cli.batches import run_cancel
    from pipeline.cli.reach import speak

    speak(partial(run_cancel, batch_id=batch_id), server=server, home=home, as_json=as_json)


@batches.command("retry")
def retry_batch(
    batch_id: BatchId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Bring the failed jobs of a batch back. It may cost once more."""
    from pipeline.cli.batches import run_retry
    from pipeline.cli.reach import speak

    speak(partial(run_retry, batch_id=batch_id), server=server, home=home, as_json=as_json)
