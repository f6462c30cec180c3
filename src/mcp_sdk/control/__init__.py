"""The control plane inside a process: publisher, cache, decider, and the local plane over a store."""
