"""``mcpctl demo shop``: a shop of eight processes whose traffic follows the state of its business."""
