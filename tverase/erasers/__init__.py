"""Other methods, for comparison. Their edits become a `TaskVector`, so that all are applied, scored and stored alike."""
