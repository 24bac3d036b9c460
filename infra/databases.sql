-- Beside Prefect's: both programs number their migrations in a table of the same name, so they cannot share one.
CREATE DATABASE mlflow;
