"""What is measured, and how. README.md beside this file explains the method and the JSON."""
