"""The service: API, queue, store, client and command line. Never imports torch."""
