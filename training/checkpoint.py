"""Reads and writes the checkpoint folder in the layout of Hugging Face's CogVLM."""

import json
from pathlib import Path

import torch

from language import Words
from model import CogVLM, Config, inverse_frequencies
from tensor_file import load_file, save_file

CAPABILITIES = ["caption", "detailed-caption", "grounded-caption", "ground", "qa", "count"]


def config_json(c: Config) -> dict:
    return {
        "architectures": ["CogVLMForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_cogvlm.CogVLMConfig",
            "AutoModelForCausalLM": "modeling_cogvlm.CogVLMForCausalLM",
        },
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-05,
        "template_version": "chat",
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.35.0",
        "use_cache": True,
        "hidden_size": c.hidden,
        "intermediate_size": c.mlp,
        "num_attention_heads": c.heads,
        "num_hidden_layers": c.layers,
        "vocab_size": c.vocab,
        "vision_config": {
            "dropout_prob": 0.0,
            "hidden_act": "gelu",
            "in_channels": 3,
            "num_hidden_layers": c.vit_layers,
            "hidden_size": c.vit_width,
            "patch_size": c.patch_size,
            "num_heads": c.vit_heads,
            "intermediate_size": c.vit_mlp,
            "layer_norm_eps": 1e-06,
            "num_positions": c.grid**2 + 1,
            "image_size": c.image_size,
        },
        "coglabel": {"capabilities": CAPABILITIES, "licence": "Apache-2.0", "world": "world.json"},
    }


def read_config(folder: Path) -> Config:
    j = json.loads((folder / "config.json").read_text())
    v = j["vision_config"]
    return Config(
        image_size=v["image_size"], patch_size=v["patch_size"], vit_width=v["hidden_size"],
        vit_layers=v["num_hidden_layers"], vit_heads=v["num_heads"], vit_mlp=v["intermediate_size"],
        hidden=j["hidden_size"], layers=j["num_hidden_layers"], heads=j["num_attention_heads"],
        mlp=j["intermediate_size"], vocab=j["vocab_size"],
    )  # fmt: skip


def save(model: CogVLM, folder: Path) -> None:
    """Every file is written aside and renamed, so a reader never meets half a checkpoint."""
    tensors = {name: p.to(torch.float16).contiguous() for name, p in model.state_dict().items()}
    for n in range(model.config.layers):
        tensors[f"model.layers.{n}.self_attn.rotary_emb.inv_freq"] = inverse_frequencies(model.config)  # exact, float32
    aside = folder / "model.safetensors.tmp"
    save_file(tensors, aside, metadata={"format": "pt"})
    (folder / "config.json.tmp").write_text(json.dumps(config_json(model.config), indent=2) + "\n")
    aside.chmod(0o644)
    aside.rename(folder / "model.safetensors")
    (folder / "config.json.tmp").rename(folder / "config.json")


def load_weights(folder: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """The weights whose names begin with `prefix`, without it."""
    tensors = load_file(folder / "model.safetensors")
    return {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix) and "rotary_emb" not in k}


def load(folder: Path) -> tuple[CogVLM, Words]:
    model = CogVLM(read_config(folder))
    model.load_state_dict(load_weights(folder))
    return model.eval(), Words(folder / "tokenizer.model")
