"""Assets: what Airflow knows of the data that pushes change."""
