"""What is measured, one file for each part; each is given the bench and returns figures."""
