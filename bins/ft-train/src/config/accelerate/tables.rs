//! The keys from which nothing follows here, and why; and those that only one value of may have.

use crate::config::peers::{Knob, accept, only};

const OFF: &[&str] = &["false", "no", "none", "null", "0", "{}", "[]", ""];
const ONE: &[&str] = &["1", "null"];
const LAUNCHED: &str = "ranks find each other by what has started them";
pub const EACH_ITS_GPU: &str = "--device and the ranks' own numbers say which GPU is whose";
const NO_TPU: &str = "there are no TPUs here";
const NO_SCRIPT: &str = "the program is no script with a function to start";
const NO_COMPILER: &str = "there is no torch here to compile with; the operators are fused as they are";
const THREADS: &str = "--threads says how many threads each process has";
const CHECKED: &str = "what ranks send each other is always checked";
const NO_LAUNCHER: &str = "ft-train starts no other machine; torchrun, mpirun and srun do";
const OWN_PART: &str = "each rank reads only its own part of the weights";
const SAVED_BY_MERGE: &str =
    "the base is never written; 'ft-merge --zero3-save-16bit-model' writes the merged model in bf16";
const LAYERS: &str = "the layers are the units that are gathered, the next one while one computes";
const ONE_CHECKPOINT: &str = "a checkpoint is one, whole, and any number of ranks resumes it";
const IN_OUTPUT: &str = "what lies on disk is a file without a name in the output folder";
const HOST: &str = "host memory is used as it is";
const BUCKETS: &str = "gradients are LoRA's, small, and summed once a step in one order";
const SCALE: &str = "the loss scale begins at 65536, halves at a fault and doubles after 2000 steps without one; it is a \
                     power of two and changes no bit where nothing overflows";
const REPORTS: &str = "--logging-steps and --report-to say what is told, and ft-bench measures";
const NOT_HERE: &str = "this is not in this version; leave it out";
const BY_MEMORY: &str = "which activations are computed twice follows from --activation-memory and changes no bit";
const F32: &str = "what is learned, its gradients and moments are f32, and so is what is sent of them";

/// `accelerate config`'s own keys.
#[rustfmt::skip]
pub const TOP: &[Knob] = &[
    only(&["LOCAL_MACHINE"], "compute_environment", "only the machines that ft-train is started on compute"),
    accept("machine_rank", LAUNCHED),
    accept("main_process_ip", LAUNCHED),
    accept("main_process_port", LAUNCHED),
    accept("rdzv_backend", LAUNCHED),
    accept("same_network", LAUNCHED),
    accept("main_training_function", NO_SCRIPT),
    only(OFF, "command_file", NO_SCRIPT),
    only(OFF, "commands", NO_SCRIPT),
    only(OFF, "downcast_bf16", NO_TPU),
    accept("tpu_env", NO_TPU),
    accept("tpu_name", NO_TPU),
    accept("tpu_vm", NO_TPU),
    accept("tpu_zone", NO_TPU),
    only(OFF, "tpu_use_cluster", NO_TPU),
    only(OFF, "tpu_use_sudo", NO_TPU),
    accept("debug", CHECKED),
    accept("enable_cpu_affinity", THREADS),
    accept("num_cpu_threads_per_process", THREADS),
    accept("dynamo_backend", NO_COMPILER),
    accept("dynamo_config", NO_COMPILER),
    accept("ipex_config", NO_COMPILER),
    accept("mpirun_config", NO_LAUNCHER),
    only(OFF, "fp8_config", "products are in f32, tf32, bf16 or fp16"),
    only(OFF, "megatron_lm_config", "ranks share data, states and weights, not single products"),
    only(OFF, "tp_config", "ranks share data, states and weights, not single products"),
    only(OFF, "parallelism_config", "ranks share data, states and weights, not single products"),
    only(OFF, "use_parallelism_config", "ranks share data, states and weights, not single products"),
];

/// `deepspeed_config`.
#[rustfmt::skip]
pub const DEEPSPEED: &[Knob] = &[
    accept("offload_optimizer_nvme_path", IN_OUTPUT),
    accept("offload_param_nvme_path", IN_OUTPUT),
    accept("zero3_init_flag", OWN_PART),
    accept("zero3_save_16bit_model", SAVED_BY_MERGE),
    accept("deepspeed_multinode_launcher", NO_LAUNCHER),
    accept("deepspeed_hostfile", NO_LAUNCHER),
    accept("deepspeed_exclusion_filter", NO_LAUNCHER),
    accept("deepspeed_inclusion_filter", NO_LAUNCHER),
    accept("deepspeed_moe_layer_cls_names", LAYERS),
];

/// `fsdp_config`.
#[rustfmt::skip]
pub const FSDP: &[Knob] = &[
    accept("fsdp_auto_wrap_policy", LAYERS),
    accept("fsdp_transformer_layer_cls_to_wrap", LAYERS),
    accept("fsdp_min_num_params", LAYERS),
    accept("fsdp_backward_prefetch", LAYERS),
    accept("fsdp_backward_prefetch_policy", LAYERS),
    accept("fsdp_forward_prefetch", LAYERS),
    accept("fsdp_cpu_ram_efficient_loading", OWN_PART),
    accept("fsdp_sync_module_states", OWN_PART),
    accept("fsdp_use_orig_params", "frozen and trained weights are kept apart as they are"),
    accept("fsdp_state_dict_type", ONE_CHECKPOINT),
];

/// DeepSpeed's JSON.
#[rustfmt::skip]
pub const JSON: &[Knob] = &[
    accept("steps_per_print", REPORTS),
    accept("wall_clock_breakdown", REPORTS),
    accept("memory_breakdown", REPORTS),
    accept("dump_state", REPORTS),
    accept("flops_profiler", REPORTS),
    accept("comms_logger", REPORTS),
    only(OFF, "tensorboard", "use --report-to tensorboard"),
    only(OFF, "wandb", "this program sends nothing over a network"),
    only(OFF, "comet", "this program sends nothing over a network"),
    only(OFF, "csv_monitor", "metrics.jsonl has every figure"),
    accept("zero_allow_untested_optimizer", "every optimizer that is known is tested"),
    accept("zero_force_ds_cpu_optimizer", HOST),
    accept("aio", IN_OUTPUT),
    accept("activation_checkpointing", BY_MEMORY),
    accept("communication_data_type", F32),
    accept("seq_parallel_communication_data_type", F32),
    accept("data_types", F32),
    accept("fp32_allreduce", F32),
    accept("prescale_gradients", BUCKETS),
    only(ONE, "gradient_predivide_factor", BUCKETS),
    accept("disable_allgather", BUCKETS),
    only(OFF, "sparse_gradients", BUCKETS),
    accept("checkpoint", ONE_CHECKPOINT),
    only(OFF, "nebula", ONE_CHECKPOINT),
    only(OFF, "amp", "use bf16 or fp16"),
    only(OFF, "sparse_attention", NOT_HERE),
    only(OFF, "data_efficiency", NOT_HERE),
    only(OFF, "curriculum_learning", NOT_HERE),
    only(OFF, "progressive_layer_drop", NOT_HERE),
    only(OFF, "compression_training", NOT_HERE),
    only(OFF, "elasticity", "any number of ranks resumes a checkpoint; leave it out"),
    only(OFF, "autotuning", NOT_HERE),
    only(OFF, "hybrid_engine", NOT_HERE),
    only(OFF, "pipeline", NOT_HERE),
    only(OFF, "tensor_parallel", NOT_HERE),
    only(OFF, "sequence_parallel_size", NOT_HERE),
    only(OFF, "torch_autocast", "use bf16 or fp16"),
    accept("compile", NO_COMPILER),
];

/// `zero_optimization`.
#[rustfmt::skip]
pub const ZERO: &[Knob] = &[
    accept("overlap_comm", LAYERS),
    accept("sub_group_size", LAYERS),
    accept("stage3_max_live_parameters", LAYERS),
    accept("stage3_max_reuse_distance", LAYERS),
    accept("stage3_prefetch_bucket_size", LAYERS),
    accept("stage3_param_persistence_threshold", LAYERS),
    accept("stage3_model_persistence_threshold", LAYERS),
    accept("stage3_module_granularity_threshold", LAYERS),
    accept("stage3_use_all_reduce_for_fetch_params", LAYERS),
    accept("stage3_allgather_sequential", LAYERS),
    accept("stage3_gather_16bit_weights_on_model_save", SAVED_BY_MERGE),
    accept("stage3_gather_fp16_weights_on_model_save", SAVED_BY_MERGE),
    accept("contiguous_gradients", BUCKETS),
    accept("reduce_scatter", BUCKETS),
    accept("reduce_bucket_size", BUCKETS),
    accept("allgather_partitions", BUCKETS),
    accept("allgather_bucket_size", BUCKETS),
    accept("use_multi_rank_bucket_allreduce", BUCKETS),
    accept("round_robin_gradients", BUCKETS),
    accept("ignore_unused_parameters", BUCKETS),
    accept("legacy_stage1", BUCKETS),
    accept("memory_efficient_linear", "frozen matrices need no gradient and keep nothing for one"),
    accept("log_trace_cache_warnings", REPORTS),
    accept("cpu_offload_use_pin_memory", HOST),
    accept("elastic_checkpoint", ONE_CHECKPOINT),
    accept("load_from_fp32_weights", ONE_CHECKPOINT),
    accept("zero_hpz_partition_size", "ranks share among all of them"),
    only(OFF, "zero_quantized_weights", "use --load-in 8bit or 4bit: codes are what is gathered"),
    only(OFF, "zero_quantized_nontrainable_weights", "use --load-in 8bit or 4bit: codes are what is gathered"),
    only(OFF, "zero_quantized_gradients", F32),
    only(&["-1", "0"], "mics_shard_size", "ranks share among all of them"),
    only(OFF, "mics_hierarchical_params_gather", "ranks share among all of them"),
];

/// `offload_optimizer` and `offload_param`.
#[rustfmt::skip]
pub const OFFLOAD: &[Knob] = &[
    accept("nvme_path", IN_OUTPUT),
    accept("pin_memory", HOST),
    accept("buffer_count", HOST),
    accept("buffer_size", HOST),
    accept("max_in_cpu", HOST),
    accept("fast_init", HOST),
    accept("pipeline_read", HOST),
    accept("pipeline_write", HOST),
    accept("super_offload", HOST),
    accept("cpuadam_cores_perc", HOST),
    only(ONE, "ratio", "all moments are offloaded, or none"),
];

/// `fp16`.
#[rustfmt::skip]
pub const FP16: &[Knob] = &[
    only(&["0"], "loss_scale", "the loss scale is dynamic, which is 0"),
    accept("loss_scale_window", SCALE),
    accept("initial_scale_power", SCALE),
    accept("hysteresis", SCALE),
    accept("consecutive_hysteresis", SCALE),
    accept("min_loss_scale", SCALE),
    accept("auto_cast", F32),
    only(OFF, "fp16_master_weights_and_grads", F32),
];

/// `bf16`.
#[rustfmt::skip]
pub const BF16: &[Knob] = &[
    accept("immediate_grad_update", BUCKETS),
    accept("check_grad_overflow", "a loss or gradient that is not finite stops the run"),
    only(OFF, "bf16_master_weights_and_grads", F32),
    only(OFF, "bf16_optimizer_states", F32),
];

/// `optimizer.params`.
#[rustfmt::skip]
pub const OPTIMIZER: &[Knob] = &[
    only(&["true"], "adam_w_mode", "weight decay is decoupled: AdamW"),
    only(&["true"], "bias_correction", "moments are corrected, as torch does"),
    only(OFF, "amsgrad", NOT_HERE),
    only(OFF, "momentum", "use --optim-args momentum=0.9"),
    accept("torch_adam", NO_COMPILER),
    accept("fused", NO_COMPILER),
    accept("foreach", NO_COMPILER),
];

/// `scheduler.params`.
#[rustfmt::skip]
pub const SCHEDULER: &[Knob] = &[
    only(&["0"], "warmup_min_lr", "the warm-up begins at 0"),
    only(&["-1"], "last_batch_iteration", "a resumed run goes on where it stopped"),
];
