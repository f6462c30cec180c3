"""Cases beside policies, and what they cover: ``mcpctl policy test``."""
