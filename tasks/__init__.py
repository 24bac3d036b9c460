"""One step a file: read files, one call into the library, write files. Run by Prefect (cached) and by DVC."""
