"""How calls leave a service: to an endpoint of the decided subset, with our baggage for the mesh's hosts alone."""
