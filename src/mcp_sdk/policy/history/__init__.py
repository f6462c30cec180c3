"""Decision logs against policies: ``mcpctl policy simulate`` and ``replay``."""
