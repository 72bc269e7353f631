"""Pull events from a subscription of Pub/Sub. `python pull.py projects/P/subscriptions/S`

With PUBSUB_EMULATOR_HOST it pulls from Google's emulator, else with the environment's credentials.
"""

import asyncio
import os
import signal
import sys

from gallery import open_gallery

from adapters.kit.pull import pull


async def main(subscription: str) -> None:
    pulling = asyncio.create_task(
        pull(open_gallery(), subscription, emulator=os.environ.get("PUBSUB_EMULATOR_HOST"))
    )
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, pulling.cancel)
    print(f"pulls from {subscription}", flush=True)
    try:
        await pulling
    except asyncio.CancelledError:
        print("stopped; what was handled is acknowledged", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name the subscription: projects/PROJECT/subscriptions/NAME")
    asyncio.run(main(sys.argv[1]))
