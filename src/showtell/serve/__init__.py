"""Captions over HTTP: a service, and the page that uses it. Needs the extra ``serve``."""
