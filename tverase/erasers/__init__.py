"""Other methods, for comparison. Each ends with a `TaskVector`, so that all are applied, scored and stored alike."""
