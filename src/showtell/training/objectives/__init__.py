"""What a phase of training minimizes: cross-entropy with or without teachers, or the negative expected reward."""
