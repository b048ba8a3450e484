"""Push prospects from Apache Airflow into Closers, the cold-email CRM."""

__version__ = "0.1.0"
