"""Distribution files: reading, checking and comparing wheels, sdists, zips and tars."""
