"""What is measured, a module for each group of lines; each tells the whole story of its figures."""
