"""Clients of a control-plane server: the ``https`` control plane, and what ``mcpctl`` asks with."""
