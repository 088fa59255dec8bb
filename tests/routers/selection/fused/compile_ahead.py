"""Compiles the kernels for a card by its architecture, and prints a line a kernel: registers, spills, instructions.

    python compile_ahead.py 90 sizes

Axes: T tokens, E experts, K experts per token.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from routers import get_selection_rule, list_selection_rules
from routers.selection.fused import launch
from routers.selection.fused.kernels import select_backward, select_forward
from routers.selection.fused.plan import plan_of

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
MANY = 16384
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}


def compile_one(kernel, name, num_experts, top_k, num_tokens, architecture, dtype=torch.float32):
    """One kernel of one rule, and what the compiler made of it."""
    rule = get_selection_rule(name)
    given = launch.constants(plan_of(rule, num_experts, top_k), dtype, torch.float32, num_tokens)
    values = TYPES[dtype]
    learned = "*fp32" if rule.expert_scale else "constexpr"
    types = {
        "logits": values,
        "bias": "*fp32" if rule.has_bias else "constexpr",
        "expert_scale": learned,
        "selected": "*i64",
        "weights": values,
        "weight_gradients": values,
        "logit_gradients": values,
        "scale_gradients": learned,
        "num_tokens": "i32",
    }
    names = kernel.arg_names
    signature = {each: types.get(each, "constexpr") for each in names}
    constants = {each: given.get(each) for each in names if signature[each] == "constexpr"}
    aligned = {(i,): [["tt.divisibility", 16]] for i, each in enumerate(names) if signature[each].startswith("*")}
    source = ASTSource(kernel, signature, constants, aligned)
    target = GPUTarget("cuda", architecture, 32)
    made = triton.compile(source, target=target, options={"num_warps": 1, "enable_fp_fusion": True})
    ptx = made.asm["ptx"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    said = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", usage))
    print(
        f"rule={name} kernel={kernel.__name__} sm={architecture} E={num_experts} K={top_k} T={num_tokens} "
        f"dtype={str(dtype).removeprefix('torch.')} registers={said['REG']} "
        f"spilled={int(said['STACK']) + int(said['LOCAL'])} shared={made.metadata.shared} "
        f"barriers={ptx.count('bar.sync')} redux={ptx.count('redux.sync')} shuffles={ptx.count('shfl.sync')} "
        f"vector_loads={len(re.findall(r'ld.global.*v[24]', ptx))} instructions={ptx.count(';')}"
    )


def every_rule(architecture):
    """Each rule of the catalogue that differs to the compiler, at a small size."""
    seen = set()
    for name in list_selection_rules():
        rule = get_selection_rule(name)
        if rule.how_many != "top_k":
            continue
        dtype = torch.bfloat16 if rule.precision == "model" else torch.float32
        plan = plan_of(rule, 24, 2)
        same = (*vars(plan).values(), rule.has_bias, rule.expert_scale, dtype)
        same = str(same).replace(f"'SCALE': {plan.numbers['SCALE']}", "")
        if same in seen:
            continue
        seen.add(same)
        for kernel in (select_forward, select_backward):
            compile_one(kernel, name, 24, 2, 1, architecture, dtype)


def sizes(architecture):
    """Sizes that ship, and those that others report times of."""
    for name, num_experts, top_k in (
        ("softmax", 128, 8),
        ("softmax", 512, 10),
        ("deepseek_v3", 256, 8),
        ("glm4_moe", 896, 16),
        ("longcat_flash", 768, 12),
    ):
        for num_tokens in (1, MANY):
            for kernel in (select_forward, select_backward):
                compile_one(kernel, name, num_experts, top_k, num_tokens, architecture)


if __name__ == "__main__":
    {"every-rule": every_rule, "sizes": sizes}[sys.argv[2]](int(sys.argv[1]))
