//! `--device`: what computes.

use std::str::FromStr;

/// `--device`; flatten it into a program's arguments. `D` is what the engine calls a device.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct DeviceArgs<D: Clone + Send + Sync + FromStr<Err = String> + 'static> {
    /// What computes: auto (a GPU if the build can use one and it is there, else the CPU), cpu, cuda, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: D,
    /// For tests: take the plain operators on the CPU too, which are those that a GPU takes
    #[arg(long, hide = true)]
    pub reference_operators: bool,
}
