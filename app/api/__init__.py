"""The REST API, version 1: one noun a file, thin over store, queue and catalog."""
