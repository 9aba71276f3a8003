"""Tiny models with random weights of every family that people pretrain: 76 configurations, two layers, width 64.

``model("cohere")`` is one of them. What a name stands for is read from its entry in :data:`ARCHITECTURES`.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

VOCABULARY = 512
WIDTH = 64
LAYERS = 2
HEADS = 4
CONTEXT = 512
#: Shorter than the longest requests, so that it cuts off what they see.
SHORT_WINDOW = 64
#: Longer than any request.
LONG_WINDOW = 4096

#: What a layer sees of the text: all of it, part of it, or a state that is carried along.
Sight = Literal["full", "alibi", "window", "recurrent"]
#: Weights as after training, as drawn before it, and as drawn but with an output head of zeros.
Weights = Literal["trained", "default", "zero head"]


@dataclass(frozen=True)
class Architecture:
    """A configuration: transformers' name of its family, what it says beyond the common sizes, and what it sees."""

    model_type: str
    settings: dict[str, Any]
    sight: Sight = "full"
    experts: bool = False

    @property
    def is_dense_full_attention(self) -> bool:
        """Whether every layer attends to all tokens before, and every parameter is used by every token."""
        return self.sight == "full" and not self.experts


def _spelled(width: str, layers: str, heads: str, context: str, **more: Any) -> dict[str, Any]:
    """The common sizes under the names that a family has for them."""
    return {width: WIDTH, layers: LAYERS, heads: HEADS, context: CONTEXT, **more}


_TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_USUAL = _spelled("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
_GPT2 = _spelled("n_embd", "n_layer", "n_head", "n_positions")
_BLOOM = {"hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
_MPT = _spelled("d_model", "n_layers", "n_heads", "max_seq_len")
_NEO = _spelled("hidden_size", "num_layers", "num_heads", "max_position_embeddings", intermediate_size=128)

_WIDE = {**_USUAL, "intermediate_size": 128}
_GROUPED = {**_WIDE, "num_key_value_heads": 2}
_HEADED = {**_GROUPED, "head_dim": 16}
_GEMMA = {**_HEADED, "query_pre_attn_scalar": 16}
_FALCON = {**_USUAL, "ffn_hidden_size": 128, "new_decoder_architecture": False}

_FOUR_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_FOUR_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_SMALL_EXPERTS = {**_FOUR_EXPERTS, "moe_intermediate_size": 64}
_BESIDE_ONE_SHARED = {**_SMALL_EXPERTS, "shared_expert_intermediate_size": 64}
_ROUTED = {
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "num_key_value_heads": HEADS,
}
_MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
_GRANITE = {**_GROUPED, "logits_scaling": 8.0}
_LINEAR_THEN_FULL = {"layer_types": ["linear_attention", "full_attention"]}


def _dense(model_type: str, settings: dict[str, Any], **more: Any) -> Architecture:
    return Architecture(model_type, {**settings, **more})


def _alibi(model_type: str, settings: dict[str, Any], **more: Any) -> Architecture:
    return Architecture(model_type, {**settings, **more}, "alibi")


def _window(model_type: str, settings: dict[str, Any], experts: bool = False, **more: Any) -> Architecture:
    return Architecture(model_type, {**settings, **more}, "window", experts)


def _recurrent(model_type: str, settings: dict[str, Any], experts: bool = False, **more: Any) -> Architecture:
    return Architecture(model_type, {**settings, **more}, "recurrent", experts)


def _experts(model_type: str, settings: dict[str, Any], **more: Any) -> Architecture:
    return Architecture(model_type, {**settings, **more}, experts=True)


#: By name; a family with two entries is told apart by what it sees.
ARCHITECTURES: dict[str, Architecture] = {
    # One kind of layer, all tokens before.
    "apertus": _dense("apertus", _GROUPED),
    "arcee": _dense("arcee", _GROUPED),
    "bert_decoder": _dense("bert", _WIDE, is_decoder=True),
    "biogpt": _dense("biogpt", _WIDE),
    "codegen": _dense("codegen", _GPT2, n_ctx=CONTEXT, rotary_dim=8),
    "cohere": _dense("cohere", _GROUPED, logit_scale=0.0625),
    "cohere2": _dense("cohere2", _HEADED, logit_scale=0.0625, sliding_window=LONG_WINDOW),
    "diffllama": _dense("diffllama", _GROUPED),
    "ernie4_5": _dense("ernie4_5", _HEADED),
    "falcon": _dense("falcon", _FALCON, alibi=False, multi_query=True),
    "gemma": _dense("gemma", _HEADED),
    "gemma2": _dense("gemma2", _GEMMA, sliding_window=LONG_WINDOW),
    "gemma3_text": _dense("gemma3_text", _GEMMA, sliding_window=LONG_WINDOW),
    "gemma3n_text": _dense(
        "gemma3n_text",
        _GEMMA,
        intermediate_size=[128] * LAYERS,
        sliding_window=LONG_WINDOW,
        layer_types=["sliding_attention", "full_attention"],
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size_per_layer_input=16,
        num_kv_shared_layers=0,
        activation_sparsity_pattern=[0.0] * LAYERS,
        laurel_rank=8,
        altup_num_inputs=2,
    ),
    "glm4": _dense("glm4", _HEADED),
    "gpt2": _dense("gpt2", _GPT2),
    "gpt_bigcode": _dense("gpt_bigcode", _GPT2),
    "gpt_neo": _dense("gpt_neo", _NEO, attention_types=[[["global"], LAYERS]]),
    "gpt_neox": _dense("gpt_neox", _WIDE),
    "gpt_neox_japanese": _dense("gpt_neox_japanese", _USUAL, intermediate_multiple_size=2),
    "gptj": _dense("gptj", _GPT2, rotary_dim=8),
    "granite": _dense(
        "granite", _GRANITE, embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.0625
    ),
    "helium": _dense("helium", _HEADED),
    "hunyuan_v1_dense": _dense("hunyuan_v1_dense", _HEADED),
    "llama": _dense("llama", _GROUPED),
    "mistral": _dense("mistral", _HEADED, sliding_window=None),
    "nemotron": _dense("nemotron", _HEADED),
    "olmo": _dense("olmo", _GROUPED),
    "olmo2": _dense("olmo2", _GROUPED),
    "olmo3": _dense("olmo3", _GROUPED, sliding_window=LONG_WINDOW),
    "opt": _dense("opt", _USUAL, ffn_dim=128, word_embed_proj_dim=WIDTH),
    "persimmon": _dense("persimmon", _WIDE),
    "phi": _dense("phi", _GROUPED),
    "phi3": _dense("phi3", _GROUPED, sliding_window=None),
    "qwen2": _dense("qwen2", _GROUPED),
    "qwen3": _dense("qwen3", _HEADED),
    "seed_oss": _dense("seed_oss", _HEADED),
    "smollm3": _dense("smollm3", _GROUPED, no_rope_layers=[1, 0]),
    "stablelm": _dense("stablelm", _GROUPED),
    "starcoder2": _dense("starcoder2", _GROUPED, sliding_window=None),
    "xglm": _dense(
        "xglm",
        _spelled("d_model", "num_layers", "attention_heads", "max_position_embeddings"),
        ffn_dim=128,
        scale_embedding=False,
    ),
    # A bias by distance stands in for positions.
    "bloom": _alibi("bloom", _BLOOM),
    "falcon_alibi": _alibi("falcon", _FALCON, alibi=True, multi_query=False),
    "mpt": _alibi("mpt", _MPT),
    # Some layers see the last tokens alone.
    "exaone4_window": _window("exaone4", _GROUPED, sliding_window=SHORT_WINDOW, sliding_window_pattern=2),
    "gemma2_window": _window("gemma2", _GEMMA, sliding_window=SHORT_WINDOW),
    "gpt_neo_window": _window("gpt_neo", _NEO, attention_types=[[["global", "local"], 1]], window_size=SHORT_WINDOW),
    "ministral_window": _window("ministral", _HEADED, sliding_window=SHORT_WINDOW),
    "olmo3_window": _window("olmo3", _GROUPED, sliding_window=SHORT_WINDOW),
    "gpt_oss_window": _window("gpt_oss", {**_HEADED, **_FOUR_LOCAL}, experts=True, sliding_window=SHORT_WINDOW),
    "llama4_chunked": _window(
        "llama4_text",
        {**_HEADED, **_FOUR_LOCAL},
        experts=True,
        num_experts_per_tok=1,
        attention_chunk_size=SHORT_WINDOW,
        intermediate_size_mlp=128,
        no_rope_layers=[1] * LAYERS,
    ),
    "mixtral_window": _window("mixtral", {**_HEADED, **_FOUR_LOCAL}, experts=True, sliding_window=SHORT_WINDOW),
    # A token passes through some of the experts.
    "deepseek_v2": _experts("deepseek_v2", {**_GROUPED, **_ROUTED, **_LATENT}),
    "deepseek_v3": _experts("deepseek_v3", {**_GROUPED, **_ROUTED, **_LATENT}),
    "dots1": _experts("dots1", {**_HEADED, **_ROUTED}),
    "flex_olmo": _experts("flex_olmo", {**_GROUPED, **_FOUR_EXPERTS}),
    "gpt_oss": _experts("gpt_oss", {**_HEADED, **_FOUR_LOCAL}, sliding_window=LONG_WINDOW),
    "granitemoe": _experts("granitemoe", {**_GRANITE, **_FOUR_LOCAL}),
    "mixtral": _experts("mixtral", {**_HEADED, **_FOUR_LOCAL}, sliding_window=None),
    "olmoe": _experts("olmoe", {**_GROUPED, **_FOUR_EXPERTS}),
    "phimoe": _experts("phimoe", _GROUPED, num_local_experts=4),
    "qwen2_moe": _experts("qwen2_moe", {**_GROUPED, **_BESIDE_ONE_SHARED}),
    "qwen3_moe": _experts("qwen3_moe", {**_HEADED, **_SMALL_EXPERTS}),
    # Some layers or all carry a state along.
    "bamba": _recurrent("bamba", {**_GROUPED, **_MAMBA2}, attn_layer_indices=[1], mamba_chunk_size=16),
    "falcon_h1": _recurrent("falcon_h1", {**_GROUPED, **_MAMBA2}, mamba_d_ssm=128, mamba_chunk_size=16),
    "falcon_mamba": _recurrent("falcon_mamba", _USUAL, state_size=8, expand=2),
    "lfm2": _recurrent("lfm2", _GROUPED, layer_types=["conv", "full_attention"], block_ff_dim=128),
    "mamba": _recurrent("mamba", _USUAL, state_size=8, expand=2),
    "mamba2": _recurrent(
        "mamba2", _USUAL, state_size=16, expand=2, num_heads=8, head_dim=16, n_groups=1, chunk_size=16
    ),
    "recurrent_gemma": _recurrent(
        "recurrent_gemma",
        _HEADED,
        block_types=["recurrent", "attention"],
        attention_window_size=SHORT_WINDOW,
        lru_width=WIDTH,
    ),
    "rwkv": _recurrent("rwkv", _USUAL, attention_hidden_size=WIDTH, context_length=CONTEXT, intermediate_size=128),
    "zamba2": _recurrent(
        "zamba2",
        _GROUPED,
        num_key_value_heads=HEADS,
        layers_block_type=["mamba", "hybrid"],
        n_mamba_heads=8,
        mamba_headdim=16,
        mamba_d_state=16,
        mamba_ngroups=1,
        chunk_size=16,
        num_mem_blocks=1,
        use_mem_rope=True,
    ),
    "granitemoehybrid": _recurrent(
        "granitemoehybrid",
        {**_GRANITE, **_FOUR_LOCAL, **_MAMBA2},
        experts=True,
        layer_types=["mamba", "attention"],
        mamba_expand=2,
        shared_intermediate_size=64,
    ),
    "jamba": _recurrent(
        "jamba",
        _GROUPED,
        experts=True,
        num_experts=4,
        expert_layer_period=2,
        expert_layer_offset=1,
        attn_layer_period=2,
        attn_layer_offset=1,
        mamba_d_state=8,
        mamba_dt_rank=8,
        use_mamba_kernels=False,
    ),
    "minimax": _recurrent("minimax", {**_HEADED, **_LINEAR_THEN_FULL}, experts=True, num_local_experts=4),
    "qwen3_next": _recurrent(
        "qwen3_next",
        {**_HEADED, **_BESIDE_ONE_SHARED, **_LINEAR_THEN_FULL},
        experts=True,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
    ),
}

#: In every test run: each way in which a family differs from Llama, once.
FAST: tuple[str, ...] = (
    "bert_decoder",
    "biogpt",
    "codegen",
    "cohere",
    "falcon",
    "gemma2",
    "gemma3_text",
    "gemma3n_text",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_neox",
    "gptj",
    "granite",
    "llama",
    "olmo2",
    "opt",
    "phi3",
    "qwen3",
    "smollm3",
    "stablelm",
    "xglm",
    "bloom",
    "falcon_alibi",
    "mpt",
    "gemma2_window",
    "gpt_neo_window",
    "gpt_oss_window",
    "llama4_chunked",
    "mixtral_window",
    "deepseek_v3",
    "flex_olmo",
    "granitemoe",
    "olmoe",
    "qwen2_moe",
    "falcon_h1",
    "jamba",
    "mamba",
    "qwen3_next",
    "rwkv",
)


def config(name: str, **changes: Any) -> Any:
    """The configuration ``name`` of :data:`ARCHITECTURES`, with ``changes``."""
    from transformers import AutoConfig

    chosen = ARCHITECTURES[name]
    return AutoConfig.for_model(chosen.model_type, **{**_TOKENS, **deepcopy(chosen.settings), **changes})


def model(name: str, seed: int = 1, weights: Weights = "trained", dtype: Any = None, **changes: Any) -> Any:
    """A model in ``dtype`` (float32) whose weights depend on ``seed`` alone, ready to be evaluated.

    "trained" weights are wide enough for choices to differ by nats, and no bias or scale is left as it begins.
    """
    import torch
    from transformers import AutoModelForCausalLM

    state = torch.get_rng_state()
    torch.manual_seed(seed)
    built = AutoModelForCausalLM.from_config(config(name, **changes), dtype=dtype or torch.float32).eval()
    with torch.no_grad():
        if weights == "trained":
            _as_if_trained(built)
        elif weights == "zero head" and built.get_output_embeddings() is not None:
            built.get_output_embeddings().weight.zero_()
    torch.set_rng_state(state)
    return built


def _as_if_trained(built: Any) -> None:
    """Matrices of spread 0.1; what is a vector keeps its kind (a scale near 1, a bias near 0) but no round number."""
    import torch

    for parameter in built.parameters():
        if parameter.dim() >= 2:
            parameter.normal_(0, 0.1)
        else:
            parameter.add_(0.02 * torch.randn_like(parameter))


def write_checkpoint(folder: Path, built: Any, tokenizer: dict[str, str] | None = None, **options: Any) -> Path:
    """``folder`` with the model as ``save_pretrained`` leaves it, and the ``tokenizer``'s files by name."""
    built.save_pretrained(folder, **options)
    for file, text in (tokenizer or {}).items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder
