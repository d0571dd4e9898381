"""Endpoints over HTTP: `app` is the ASGI app, `server` runs it on uvicorn. Nothing is imported here."""
