"""The command line `switchyard`: thin doors to the same functions that everything else calls."""
