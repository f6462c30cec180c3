"""What a control-plane server and its clients say to each other: bodies, the frames of a stream, signed manifests."""
