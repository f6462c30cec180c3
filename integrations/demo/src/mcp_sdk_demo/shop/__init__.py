"""The services of the shop, each as a user of mcp-sdk would write it."""
