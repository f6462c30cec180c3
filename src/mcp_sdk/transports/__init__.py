"""How calls leave a service: to an endpoint of the decided subset, carrying our baggage to the mesh's hosts and no
others.
"""
