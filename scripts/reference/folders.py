"""The folders of testdata/reference that make_reference.py --all makes: their names and their arguments.

Sizes, seeds, lengths and layer counts differ throughout, so that nothing is right for one shape only. Dynamic
and longrope rotary embedding look at the longest row of the batch in transformers; where a folder has a row
beyond the trained length, all its rows have one length (dynamic) or are all beyond it (longrope), so that the
values are those of each row by itself too.

transformers reads Gemma-3's attn_logit_softcapping and does not use it (gemma3_text_caps-s21 sets it).

llama.cpp's files cannot say everything (see make_gguf_reference.py): Gemma's score scale is the head's size,
SmolLM3 leaves out every fourth rotation, windows of Mistral, Qwen2 and StarCoder2 are lost. gemma2-s18,
gemma3_text-s20, smollm3-s22 and others keep to what they can say, their neighbours do not.
"""

HALF = """--set rope_parameters={"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":0.5}"""
SMALL = "--layers 3 --hidden 48 --heads 4 --kv-heads 2 --intermediate 64 --vocab 112"
TINY = "--layers 2 --hidden 32 --heads 4 --kv-heads 2 --intermediate 48 --vocab 96 --lengths 13,9 --masked 2"

LONGROPE = ("""--set rope_parameters={"rope_type":"longrope","rope_theta":10000.0,"partial_rotary_factor":0.75,"""
            """"short_factor":[1.0,1.1,1.3],"long_factor":[1.5,4.0,9.0],"original_max_position_embeddings":12}"""
            """ --set original_max_position_embeddings=12 --set max_position_embeddings=48""")
WIDE = "--heads 2 --kv-heads 1 --head-dim 24"  # enough frequencies for the ramps of yarn and llama3 to lie within
YARN = (WIDE + """ --set rope_parameters={"rope_type":"yarn","rope_theta":10000.0,"factor":6.0,"beta_fast":2.0,"""
        """"beta_slow":0.25,"original_max_position_embeddings":64""")

FAMILIES = {
    "llama-s1": "--arch llama --seed 1 --layers 3 --hidden 96 --heads 6 --kv-heads 2 --head-dim 16 "
                "--intermediate 128 --vocab 320 --lengths 18,13,7 --set rms_norm_eps=1e-5",
    "llama_tied_bias-s2": "--arch llama_tied_bias --seed 2 --layers 2 --hidden 48 --heads 3 --kv-heads 3 --head-dim 24 "
                          "--intermediate 80 --vocab 200 --lengths 11,16 --masked 3 --rslora --r 6 --alpha 9 "
                          "--set rms_norm_eps=1e-5",
    "llama_linear_rope-s3": f"--arch llama_linear_rope --seed 3 {TINY} --head-dim 12 --lengths 21,11,16",
    "llama_dynamic_rope-s4": f"--arch llama_dynamic_rope --seed 4 {TINY} --set max_position_embeddings=12 "
                             "--lengths 29,29",
    "llama_dynamic_rope_short-s4": f"--arch llama_dynamic_rope --seed 4 {TINY} --set max_position_embeddings=12 "
                                   "--lengths 12,9",
    "llama3_rope-s5": f"--arch llama3_rope --seed 5 {TINY} {WIDE} --lengths 40,23",
    "llama_yarn_rope-s6": f"--arch llama_yarn_rope --seed 6 {TINY} --lengths 36,20 {YARN}}}",
    "llama_yarn_mscale-s7": f"--arch llama_yarn_rope --seed 7 {TINY} --lengths 20,11 "
                            f"""{YARN},"mscale":0.7,"mscale_all_dim":1.3,"truncate":false}}""",
    "llama_yarn_factor-s8": f"--arch llama_yarn_rope --seed 8 {TINY} --lengths 20,11 "
                            f"""{YARN},"attention_factor":0.8}}""",
    "mistral-s9": f"--arch mistral --seed 9 {SMALL} --head-dim 8 --lengths 26,9,14",
    "mistral_full-s10": f"--arch mistral_full --seed 10 {TINY} --head-dim 12 --lengths 22,15",
    "qwen2-s11": f"--arch qwen2 --seed 11 {SMALL} --lengths 27,18,10 --set use_sliding_window=true "
                 "--set sliding_window=6 --set max_window_layers=2",
    "qwen2_tied-s12": f"--arch qwen2 --seed 12 {TINY} --kv-heads 4 --lengths 15,21 --set tie_word_embeddings=true",
    "qwen3-s13": f"--arch qwen3 --seed 13 {SMALL} --heads 3 --kv-heads 1 --head-dim 20 --lengths 19,24",
    "qwen3_window-s14": f"--arch qwen3 --seed 14 {TINY} --head-dim 12 --lengths 25,13 --set attention_bias=true "
                        "--set tie_word_embeddings=true --set use_sliding_window=true --set sliding_window=5 "
                        "--set max_window_layers=1",
    "phi3-s15": f"--arch phi3 --seed 15 {SMALL} --lengths 23,12 --set sliding_window=9 {HALF}",
    "phi3_longrope-s16": f"--arch phi3 --seed 16 {TINY} --lengths 31,14 {LONGROPE}",
    "phi3_longrope_short-s16": f"--arch phi3 --seed 16 {TINY} --lengths 12,9 {LONGROPE}",
    "gemma-s17": f"--arch gemma --seed 17 {SMALL} --heads 3 --kv-heads 1 --head-dim 20 --lengths 14,20",
    "gemma2-s18": f"--arch gemma2 --seed 18 {SMALL} --head-dim 16 --lengths 24,11,17 "
                  "--set query_pre_attn_scalar=16",
    "gemma2_untied-s19": f"--arch gemma2 --seed 19 {TINY} --lengths 17,12 --set tie_word_embeddings=false "
                         "--set attention_bias=true --set sliding_window=5 --set query_pre_attn_scalar=7",
    "gemma3_text-s20": f"--arch gemma3_text --seed 20 {TINY} --layers 7 --head-dim 12 --lengths 28,13 "
                       "--set query_pre_attn_scalar=12",
    "gemma3_text_caps-s21": f"--arch gemma3_text --seed 21 {TINY} --layers 4 --lengths 18,23 "
                            "--set sliding_window_pattern=3 --set attn_logit_softcapping=4.0 "
                            "--set final_logit_softcapping=8.0 --set attention_bias=true",
    "smollm3-s22": f"--arch smollm3 --seed 22 {TINY} --layers 5 --lengths 16,25",
    "smollm3_window-s23": f"--arch smollm3 --seed 23 {TINY} --layers 3 --lengths 24,10 --set no_rope_layers=[0,1,0] "
                          "--set use_sliding_window=true --set sliding_window=7 --set tie_word_embeddings=false "
                          "--set attention_bias=true --set mlp_bias=true",
    "olmo2-s24": f"--arch olmo2 --seed 24 {SMALL} --lengths 22,15",
    "olmo2_bias-s25": f"--arch olmo2 --seed 25 {TINY} --kv-heads 1 --lengths 14,19 --set attention_bias=true "
                      "--set tie_word_embeddings=true",
    "granite-s26": f"--arch granite --seed 26 {SMALL} --lengths 12,21 --set tie_word_embeddings=true",
    "granite_bias-s27": f"--arch granite --seed 27 {TINY} --lengths 17,11 --set attention_bias=true "
                        "--set mlp_bias=true --set embedding_multiplier=6.0 --set residual_multiplier=0.4 "
                        "--set attention_multiplier=0.2 --set logits_scaling=3.0",
    "gpt2-s28": f"--arch gpt2 --seed 28 {SMALL} --layers 2 --heads 3 --lengths 18,26 --set n_inner=null",
    "gpt2_scaled-s29": f"--arch gpt2 --seed 29 {TINY} --layers 3 --lengths 15,10 --set n_inner=null "
                       "--set scale_attn_by_inverse_layer_idx=true --set activation_function=\"gelu\"",
    "gpt_neox-s30": f"--arch gpt_neox --seed 30 {SMALL} --lengths 20,13 {HALF}",
    "gpt_neox_serial-s31": f"--arch gpt_neox --seed 31 {TINY} --lengths 12,18 --set use_parallel_residual=false "
                           "--set attention_bias=false --set tie_word_embeddings=true "
                           """--set rope_parameters={"rope_type":"default","rope_theta":5000.0,"""
                           """"partial_rotary_factor":1.0}""",
    "phi-s32": f"--arch phi --seed 32 {SMALL} --layers 2 --kv-heads 4 --intermediate 192 --lengths 25,14",
    "phi_qk_norm-s33": f"--arch phi --seed 33 {TINY} --lengths 13,17 --set qk_layernorm=true",
    "starcoder2-s34": f"--arch starcoder2 --seed 34 {SMALL} --lengths 23,16 --set sliding_window=7 "
                      "--set tie_word_embeddings=true",
    "starcoder2_plain-s35": f"--arch starcoder2 --seed 35 {TINY} --lengths 14,20 --set use_bias=false "
                            "--set sliding_window=null",
    "mixtral-s36": f"--arch mixtral --seed 36 {TINY} --head-dim 12 --intermediate 28 --lengths 16,11",
    "mixtral_attention-s37": f"--arch mixtral --seed 37 {TINY} --intermediate 24 --lengths 18,12 "
                             "--set num_local_experts=5 --set num_experts_per_tok=3 --set sliding_window=6 "
                             "--targets q_proj,k_proj,v_proj,o_proj",
    "qwen3_moe-s38": f"--arch qwen3_moe --seed 38 {TINY} --head-dim 12 --lengths 12,19 --set norm_topk_prob=true",
    "qwen3_moe_sparse-s39": f"--arch qwen3_moe --seed 39 {TINY} --layers 4 --lengths 14,10 --set num_experts=6 "
                            "--set decoder_sparse_step=2 --set mlp_only_layers=[3] --set norm_topk_prob=false "
                            "--targets q_proj,k_proj,v_proj,o_proj",
}

# Families of the second round: what their folders of seed 0, which came from elsewhere, leave out.
SECOND = {
    "seed_oss-s70": f"--arch seed_oss --seed 70 {TINY} --head-dim 12 --lengths 14,21 --set attention_out_bias=true "
                    "--set mlp_bias=true --set attention_bias=false",
    "internlm3-s71": f"--arch internlm3 --seed 71 {TINY} --kv-heads 1 --head-dim 12 --lengths 26,26 "
                     "--set max_position_embeddings=12",
    "arcee-s72": f"--arch arcee --seed 72 {SMALL} --head-dim 16 --lengths 19,11 --set attention_bias=true "
                 "--set mlp_bias=true",
    "helium-s73": f"--arch helium --seed 73 {TINY} --heads 2 --kv-heads 1 --head-dim 16 --lengths 17,12 "
                  "--set attention_bias=true --set mlp_bias=true",
    "ernie4_5-s74": f"--arch ernie4_5 --seed 74 {TINY} --head-dim 12 --lengths 15,22 --set use_bias=true",
    "olmo3-s75": f"--arch olmo3 --seed 75 {SMALL} --layers 5 --lengths 24,13 --set attention_bias=true "
                 "--set sliding_window=5",
    "glm4-s76": f"--arch glm4 --seed 76 {SMALL} --head-dim 16 --lengths 20,14 --set attention_bias=false "
                "--set tie_word_embeddings=true",
    "nemotron-s77": f"--arch nemotron --seed 77 {TINY} --head-dim 8 --lengths 13,18 "
                    "--set attention_bias=true --set mlp_bias=true",
    "cohere2-s78": f"--arch cohere2 --seed 78 {SMALL} --layers 5 --lengths 21,9 --set tie_word_embeddings=true",
    "cohere2_bias-s85": f"--arch cohere2 --seed 85 {TINY} --layers 4 --lengths 12,17 --set attention_bias=true",
    "exaone4-s79": f"--arch exaone4 --seed 79 {TINY} --layers 4 --lengths 27,16 --set sliding_window_pattern=3 "
                   "--set sliding_window=6 --set tie_word_embeddings=true",
    "stablelm-s80": f"--arch stablelm --seed 80 {SMALL} --heads 3 --kv-heads 3 --lengths 18,23 "
                    "--set use_parallel_residual=true --set use_qkv_bias=true",
    "stablelm_heads-s81": f"--arch stablelm --seed 81 {TINY} --lengths 16,10 --set qk_layernorm=true "
                          "--set tie_word_embeddings=true",
    "hunyuan_v1_dense-s82": f"--arch hunyuan_v1_dense --seed 82 {SMALL} --head-dim 12 --lengths 22,12 "
                            "--set attention_bias=true --set max_position_embeddings=32768",
    "ministral3-s83": f"--arch ministral3 --seed 83 {TINY} --head-dim 12 --lengths 29,17 --set sliding_window=7",
    "apertus-s84": f"--arch apertus --seed 84 {SMALL} --lengths 25,15 --set attention_bias=true "
                   "--set tie_word_embeddings=true",
}

BOTH = """--lora modules_to_save=["embed_tokens","lm_head"]"""
VARIANTS = {
    "llama-s40-dora": f"--arch llama --seed 40 {TINY} --head-dim 12 --dora",
    "qwen2-s41-dora": f"--arch qwen2 --seed 41 {TINY} --dora --rslora --r 3 --alpha 5",
    "gpt2-s42-dora": f"--arch gpt2 --seed 42 {TINY} --dora",
    "phi3-s43-rslora": f"--arch phi3 --seed 43 {TINY} --rslora --r 6 --alpha 10",
    "llama-s44-patterns": f"--arch llama --seed 44 {TINY} --layers 3 "
                          """--lora rank_pattern={"q_proj":2,"layers.1.mlp.down_proj":7,"""
                          """"^model.layers.2.self_attn.v_proj":5} """
                          """--lora alpha_pattern={"o_proj":3,"layers.0.mlp.*_proj":20}""",
    "llama-s45-layers": f"--arch llama --seed 45 {TINY} --layers 4 --targets q_proj,v_proj,down_proj "
                        "--lora layers_to_transform=[1,3]",
    "qwen3-s46-exclude": f"--arch qwen3 --seed 46 {TINY} --layers 3 "
                         """--lora exclude_modules=["k_proj","layers.1.mlp.up_proj"]""",
    "phi3-s47-fused": f"--arch phi3 --seed 47 {TINY} --targets qkv_proj,gate_up_proj",
    "llama-s48-save-head": f"""--arch llama --seed 48 {TINY} --lora modules_to_save=["lm_head"]""",
    "llama-s49-save-both": f"--arch llama --seed 49 {TINY} {BOTH} --weight-decay 0.05",
    "llama-s50-save-embedding": f"""--arch llama --seed 50 {TINY} --lora modules_to_save=["embed_tokens"]""",
    "qwen2_tied-s51-save-head": f"""--arch qwen2 --seed 51 {TINY} --set tie_word_embeddings=true """
                                """--lora modules_to_save=["lm_head"]""",
    "qwen2_tied-s52-save-both": f"--arch qwen2 --seed 52 {TINY} --set tie_word_embeddings=true {BOTH}",
    "gemma_tied-s53-save-embedding": f"""--arch gemma --seed 53 {TINY} --lora modules_to_save=["embed_tokens"]""",
    "starcoder2-s54-bias-all": f"""--arch starcoder2 --seed 54 {TINY} --lora bias="all" --targets q_proj,c_fc""",
    "starcoder2-s55-bias-lora": f"""--arch starcoder2 --seed 55 {TINY} --lora bias="lora_only" --targets q_proj,c_fc""",
    "llama-s56-bias-all": f"""--arch llama_tied_bias --seed 56 {TINY} --lora bias="all" """,
    "gpt2-s57-bias-all": f"""--arch gpt2 --seed 57 {TINY} --lora bias="all" """,
    "phi-s60-bias-save-head": f"""--arch phi --seed 60 {TINY} --kv-heads 4 --lora bias="all" """
                              """--lora modules_to_save=["lm_head"]""",
    "llama-s58-target-head": f"--arch llama --seed 58 {TINY} --targets q_proj,lm_head",
    "llama-s59-target-embedding": f"--arch llama --seed 59 {TINY} --targets v_proj,embed_tokens",
    # The padding token stands among the others, twice: its row of a trained embedding has no gradient, but in GPT-2.
    "llama-s61-padding-save": f"--arch llama --seed 61 {TINY} --set pad_token_id=78 "
                              """--lora modules_to_save=["embed_tokens"]""",
    "llama-s62-padding-target": f"--arch llama --seed 62 {TINY} --set pad_token_id=22 --targets v_proj,embed_tokens",
    "gpt2-s63-padding-save": f"""--arch gpt2 --seed 63 {TINY} --set pad_token_id=31 --lora modules_to_save=["wte"]""",
}

FOLDERS = FAMILIES | SECOND | VARIANTS
