"""Evening out the load of the experts: losses and updates as functions, and balancers by name for a training."""

from routers.balancing.balancer import Balancer
from routers.balancing.batch_loss import GlobalBatchBalancer, SwitchBalancer, counted_loss
from routers.balancing.bias_update import BiasBalancer, SignBiasBalancer, updated_bias
from routers.balancing.processes import Processes
from routers.balancing.quantile import QuantileBalancer, quantile_bias, required_bias
from routers.balancing.registry import create_balancer, get_balancer_class, list_balancers, register_balancer
from routers.balancing.relu_l1 import ReluL1Balancer, next_coefficient, relu_l1_loss
from routers.balancing.sequence_loss import SequenceBalancer, sequence_losses
from routers.balancing.simbal import SimBalBalancer, simbal_loss
from routers.balancing.tally import Tally, tally

__all__ = [
    "Balancer",
    "BiasBalancer",
    "GlobalBatchBalancer",
    "Processes",
    "QuantileBalancer",
    "ReluL1Balancer",
    "SequenceBalancer",
    "SignBiasBalancer",
    "SimBalBalancer",
    "SwitchBalancer",
    "Tally",
    "counted_loss",
    "create_balancer",
    "get_balancer_class",
    "list_balancers",
    "next_coefficient",
    "quantile_bias",
    "register_balancer",
    "relu_l1_loss",
    "required_bias",
    "sequence_losses",
    "simbal_loss",
    "tally",
    "updated_bias",
]
