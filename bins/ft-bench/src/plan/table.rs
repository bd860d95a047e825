//! Plans for people.

use ft_model::memory_plan::RankPlan;
use ft_plot::{Bar, Panel};

use super::model_plan::{ModelPlan, Planned};
use crate::args::PlanArgs;
use crate::table::Table;

const HEAD: [&str; 14] = [
    "ranks",
    "sharding",
    "frozen",
    "gathered",
    "computing",
    "gradients",
    "moments",
    "adapter",
    "activations",
    "total",
    "fits",
    "sent: frozen",
    "gradients",
    "adapter",
];

/// A row a plan: the rank that needs most, and the one that sends most.
pub fn table(args: &PlanArgs, case: &ModelPlan) -> Table {
    let mut table = Table::new(&HEAD);
    for plan in &case.plans {
        let (Some(most), Some(sender)) = (plan.largest(), plan.most_sent()) else { continue };
        let sent = sender.sent_bytes_per_step;
        table.row(&[
            plan.ranks.world.to_string(),
            plan.sharding.to_owned(),
            size(most.frozen_bytes),
            size(most.gathered_bytes),
            size(most.computing_bytes),
            size(most.gradient_bytes.max(most.gradient_peak_bytes)),
            size(most.moment_bytes),
            size(most.adapter_bytes),
            size(most.activation_bytes),
            size(most.total_bytes()),
            fits(args, plan, most),
            size(sent.frozen),
            size(sent.gradients),
            size(sent.adapter + sent.small),
        ]);
    }
    table.title(&format!(
        "{}: {} parameters, {} in {}; {} trainable; sequences of {} tokens",
        case.model,
        count(case.parameters),
        size(case.frozen),
        case.load_in.name(),
        count(case.trainable),
        case.length
    ));
    table
}

fn fits(args: &PlanArgs, plan: &Planned, most: &RankPlan) -> String {
    match args.gpu_memory {
        None => "-".into(),
        Some(memory) if most.total_bytes() <= memory => "yes".into(),
        Some(memory) if plan.checkpointed <= memory => "recomputing".into(),
        Some(_) => "no".into(),
    }
}

/// What the figures mean.
pub fn notes(args: &PlanArgs) -> Vec<String> {
    let step = format!(
        "a step of {} × {} sequences a rank; r {} on {}; {}",
        args.gradient_accumulation_steps,
        args.per_device_train_batch_size,
        args.lora_r,
        args.target_modules.join(" "),
        args.optim.name()
    );
    let mut notes = vec![
        step,
        "bytes a rank, of the rank that needs most; sent: bytes a step, of the rank that sends most".into(),
        "gathered: a layer and the next one on its way; computing: the copy that products read; activations: about"
            .into(),
    ];
    if args.gpu_memory.is_some() {
        notes.push("recomputing: it fits with --gradient-checkpointing".into());
        notes.push(
            "fits: all of it against the GPU's memory; ft-train keeps zero3's parts, few-bit weights, moments and \
             summed gradients in the host's memory, so a GPU needs less"
                .into(),
        );
    }
    notes
}

/// The total of each plan.
pub fn panel(case: &ModelPlan) -> Panel {
    let bar = |plan: &Planned| Bar {
        label: format!("{} ranks", plan.ranks.world),
        series: plan.sharding.into(),
        value: plan.largest().map_or(0.0, |rank| rank.total_bytes() as f64 / 1e9),
    };
    Panel {
        title: format!("{} in {}: GB a rank", case.model, case.load_in.name()),
        bars: case.plans.iter().map(bar).collect(),
    }
}

/// Bytes, in three digits or so.
fn size(bytes: u64) -> String {
    scaled(bytes as f64, &[(1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB")], " B")
}

/// A number of things.
fn count(n: usize) -> String {
    scaled(n as f64, &[(1e9, " G"), (1e6, " M"), (1e3, " k")], "").replace(" G", " billion").replace(" M", " million")
}

fn scaled(value: f64, units: &[(f64, &str)], one: &str) -> String {
    match units.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, name)) => format!("{:.*}{name}", if value / unit < 10.0 { 2 } else { 1 }, value / unit),
        None => format!("{value}{one}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!([0, 999, 1_500, 80_000_000_000].map(size), ["0 B", "999 B", "1.50 kB", "80.0 GB"]);
        assert_eq!(count(8_030_000_000), "8.03 billion");
        assert_eq!(count(41_900_000), "41.9 million");
        assert_eq!(count(12), "12");
    }
}
