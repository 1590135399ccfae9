"""One pass over the rows of a folder, by threads, processes, several machines or a GPU."""
