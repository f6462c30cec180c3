"""What can be said of policies without a call: ``mcpctl policy check``."""
