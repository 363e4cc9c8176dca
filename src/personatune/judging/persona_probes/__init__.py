"""PersonaProbes: the benchmark of hand-written personas that the package ships, its loader, validator and scripts."""

from personatune.judging.persona_probes.format import ProbePersona, ProbeTrait, load_persona_probes
from personatune.judging.persona_probes.scripts import persona_probe_scripts

__all__ = ["ProbePersona", "ProbeTrait", "load_persona_probes", "persona_probe_scripts"]
