"""Where contexts are kept: one module a store, found through the entry-point group ``mcp_sdk.stores``."""
