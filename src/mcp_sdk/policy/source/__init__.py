"""Policy files → typed resources, each value with its place."""
