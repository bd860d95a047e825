//! What a run on ranks will hold and send, from a model's shape.

mod model;
mod model_plan;
mod table;

use std::path::Path;

use anyhow::{Context, Result, bail};
use ft_cli::Usage;
use ft_kernels::Precision;
use ft_model::Architecture;
use ft_model::layers::WeightFormat;
use ft_model::lora::LoraConfig;
use ft_model::memory_plan::{Frozen, MemoryPlan, RankPlan, Ranks, Stage, StepShape};
use ft_model::optimizer::OptimizerConfig;
use ft_model::step::{PieceCost, longest_piece};
use serde_json::{Value, json};

use crate::args::PlanArgs;
use crate::bounds::product;
use crate::report::Report;
use model::Model;
use model_plan::{ModelPlan, Planned};

/// `ft-bench plan`
pub fn run(args: &PlanArgs) -> Result<Report> {
    require_countable(args)?;
    let mut cases = Vec::new();
    for path in &args.model {
        let model = Model::open(path)?;
        let length = length(args, &model.arch, path)?;
        for &load_in in &args.load_in {
            cases.push(case(args, &model, load_in, length).with_context(|| format!("'{}'", path.display()))?);
        }
    }
    Ok(Report {
        benchmark: "plan",
        machine: Value::Null,
        figures: figures(args, &cases),
        tables: cases.iter().map(|case| table::table(args, case)).collect(),
        notes: table::notes(args),
        panels: cases.iter().map(table::panel).collect(),
        scatter: None,
    })
}

/// Tokens of a step of all ranks, above which their bytes could not be counted any more.
const MOST_TOKENS: u64 = 1 << 40;

fn require_countable(args: &PlanArgs) -> Result<()> {
    let (micro, accumulation) = (args.per_device_train_batch_size, args.gradient_accumulation_steps);
    let world = args.world.iter().copied().max().unwrap_or(1);
    let length = args.max_seq_length.unwrap_or(512);
    match product(&[micro, accumulation, world, length]) {
        Some(tokens) if tokens <= MOST_TOKENS => Ok(()),
        _ => bail!(Usage(format!(
            "--per-device-train-batch-size {micro} × --gradient-accumulation-steps {accumulation} × {world} ranks × \
             {length} tokens is a step of more than {MOST_TOKENS} tokens; ask for less"
        ))),
    }
}

/// Tokens in each sequence.
fn length(args: &PlanArgs, arch: &Architecture, path: &Path) -> Result<usize> {
    let most = arch.max_position_embeddings;
    match args.max_seq_length {
        None => Ok(most.min(512)),
        Some(length) if length <= most => Ok(length),
        Some(length) => bail!(Usage(format!(
            "--max-seq-length {length} is longer than the {most} tokens that '{}' takes",
            path.display()
        ))),
    }
}

fn case(args: &PlanArgs, model: &Model, load_in: WeightFormat, length: usize) -> Result<ModelPlan> {
    let frozen = model
        .frozen(load_in.with_four_bit(args.four_bit.bnb_4bit_quant_type, args.four_bit.bnb_4bit_use_double_quant))?;
    let lora = LoraConfig::new(args.lora_r, 2.0 * args.lora_r as f64, &args.target_modules.join(","));
    let optimizer = OptimizerConfig { kind: args.optim, ..OptimizerConfig::default() };
    let mut plans = Vec::new();
    let mut trainable = 0;
    for &world in &args.world {
        for (sharding, stage) in args.sharding.iter().flat_map(|name| name.stages()) {
            let ranks = Ranks { world, stage, reshard_after_forward: args.fsdp_reshard_after_forward };
            let step = step(args, &model.arch, &frozen, ranks, length);
            let plan = |step| MemoryPlan::new(&model.arch, &frozen, &lora, &optimizer, step);
            let (kept, nothing) = (plan(step)?, plan(keeping(step, &model.arch, ranks, 0))?);
            trainable = kept.trainable();
            let all = |plan: &MemoryPlan<'_>| (0..world).map(|rank| plan.rank(ranks, rank)).collect::<Vec<_>>();
            let checkpointed = all(&nothing).iter().map(RankPlan::total_bytes).max().unwrap_or(0);
            plans.push(Planned { sharding, ranks, each: all(&kept), checkpointed });
        }
    }
    let parameters = model.arch.parameters();
    Ok(ModelPlan { model: model.name.clone(), load_in, length, parameters, trainable, frozen: frozen.bytes(), plans })
}

/// The step, cut to the memory that ft-train would find free.
fn step(args: &PlanArgs, arch: &Architecture, frozen: &Frozen, ranks: Ranks, length: usize) -> StepShape {
    let free = match args.gpu_memory {
        Some(memory) => memory.saturating_sub(frozen.held(ranks, 0)) / 4,
        None => ft_model::device::activation_memory(&candle_core::Device::Cpu) / ranks.world as u64,
    };
    let activation_memory = if args.gradient_checkpointing { 0 } else { args.activation_memory.unwrap_or(free) };
    let shape = StepShape {
        micro_batch: args.per_device_train_batch_size,
        accumulation: args.gradient_accumulation_steps,
        length,
        activation_memory,
        longest_piece: 0,
        precision: Precision::F32,
        on_cpu: args.gpu_memory.is_none(),
    };
    keeping(shape, arch, ranks, activation_memory)
}

/// The same step where so many bytes may be kept for backward.
fn keeping(step: StepShape, arch: &Architecture, ranks: Ranks, activation_memory: u64) -> StepShape {
    let cost = match (step.on_cpu, ranks.stage) {
        (false, _) => PieceCost::Launches,
        (true, Stage::Zero3) if ranks.world > 1 => PieceCost::Layers,
        (true, _) => PieceCost::Nothing,
    };
    StepShape { activation_memory, longest_piece: longest_piece(arch, step.precision, activation_memory, cost), ..step }
}

fn figures(args: &PlanArgs, cases: &[ModelPlan]) -> serde_json::Map<String, Value> {
    let rank = |rank: &RankPlan| {
        let mut all = json!(rank);
        all["total_bytes"] = rank.total_bytes().into();
        all
    };
    let planned = |plan: &Planned| {
        let most = plan.largest().map_or(0, RankPlan::total_bytes);
        json!({
            "world": plan.ranks.world,
            "sharding": plan.sharding,
            "largest_total_bytes": most,
            "fits": args.gpu_memory.map(|memory| most <= memory),
            "fits_with_gradient_checkpointing": args.gpu_memory.map(|memory| plan.checkpointed <= memory),
            "ranks": plan.each.iter().map(rank).collect::<Vec<_>>(),
        })
    };
    let case = |case: &ModelPlan| {
        json!({
            "model": case.model,
            "load_in": case.load_in.name(),
            "max_seq_length": case.length,
            "parameters": case.parameters,
            "trainable_parameters": case.trainable,
            "frozen_bytes": case.frozen,
            "plans": case.plans.iter().map(planned).collect::<Vec<_>>(),
        })
    };
    let all = json!({
        "lora_r": args.lora_r,
        "target_modules": args.target_modules,
        "optim": args.optim.name(),
        "per_device_train_batch_size": args.per_device_train_batch_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "fsdp_reshard_after_forward": args.fsdp_reshard_after_forward,
        "gpu_memory": args.gpu_memory,
        "models": cases.iter().map(case).collect::<Vec<_>>(),
    });
    all.as_object().cloned().unwrap_or_default()
}
