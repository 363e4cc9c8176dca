"""Character cards: V1, V2 and V3 as JSON, PNG and .charx, read as personas and written back without loss.

A card comes from a stranger. Its text is data: never a path, never markup, never a control token; every size has a
limit (`limits`). The formats are those of the public specifications: character-card-spec-v2 (spec_v1.md, spec_v2.md)
and character-card-spec-v3 (SPEC_V3.md).
"""
