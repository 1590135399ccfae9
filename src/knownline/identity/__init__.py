"""What a run is made from, as one hash, and what it is called."""
