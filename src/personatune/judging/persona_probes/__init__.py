"""PersonaProbes: the benchmark of hand-written personas that the package ships, its loader, validator and scripts."""

from personatune.judging.persona_probes.format import ProbePersona, ProbeTrait, load_persona_probes

__all__ = ["ProbePersona", "ProbeTrait", "load_persona_probes"]
