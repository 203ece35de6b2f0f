"""The only place that imports the host: memory, folders, progress, models and sampling."""
