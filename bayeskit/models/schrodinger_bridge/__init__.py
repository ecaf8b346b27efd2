"""Light Schrödinger bridges: entropic optimal transport with plans in closed form."""

from bayeskit.models.schrodinger_bridge.bridge import Bridge, Estimate
from bayeskit.models.schrodinger_bridge.conditional import BridgeConditional
from bayeskit.models.schrodinger_bridge.light_bridge import BridgeFit, LightBridge, choose_num_components

__all__ = ["Bridge", "BridgeConditional", "BridgeFit", "Estimate", "LightBridge", "choose_num_components"]
