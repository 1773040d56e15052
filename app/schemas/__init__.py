"""The words of the domain, one noun a file; shared by service, worker, client and dashboard."""
