"""What is copied into bundles: modules of the standard library and the target's runtime alone, none of quantcurve."""
