"""A scripted plane with meshes over it."""

from scripted_mesh import clock, make_mesh, mesh, peer, plane

__all__ = ["clock", "make_mesh", "mesh", "peer", "plane"]
