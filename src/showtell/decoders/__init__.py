"""The seven decoders and their protocol: one file each, named after the paper it implements."""
