"""The report's page: sentences, tables, pictures and the explorer, put into templates."""
