"""Say how unique a circuit is: found again on other pairs, by other methods, and rivaled by edges that it lacks."""
