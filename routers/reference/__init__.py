"""The float64 reference, slow and plain, that everything fast is compared with."""
