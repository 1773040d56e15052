"""The typed REST client, sync and async: scripts, the command line and the dashboard all use this one.

    client = Client("http://127.0.0.1:8000")
    submitted = client.submit(RunRequest(model="demo"))
    for job in client.events(submitted.job.id):
        print(job.progress.phase)
    rows = client.neurons(submitted.run.id, sort="-wd", limit=20).items
    pruned = client.prune(submitted.run.id, PruningRequest(sparsity=0.9, layers=[15]))

Every method raises the exception of `app.errors` that the service's problem names; ApiUnreachable when nothing answers.
Reads are tried again, with back-off, when the service answers 503 or the connection breaks; writes are sent once.
"""

from app.client.awaiting import AsyncClient
from app.client.blocking import Client

__all__ = ["AsyncClient", "Client"]
