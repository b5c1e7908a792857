"""What trained models do, as numbers: no drawing here."""
