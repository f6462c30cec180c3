"""Policy sets by what they decide: ``mcpctl policy diff``."""
