"""Builders: the field's objects or raw tensors become a complete :class:`geoembed.schema.Graph`."""
