"""Generated from proto/: the autoscaler's protocol and the parts of core/v1 that it carries. Not edited by hand."""
