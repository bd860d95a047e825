//! Compiles the kernels of a build for CUDA. Any other build runs nothing of this.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Sources below `kernels/`.
const KERNELS: [&str; 1] = ["dropout"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    // 80 is the oldest generation with bf16; the driver compiles for a newer one.
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    for name in KERNELS {
        let target = out.join(format!("{name}.ptx"));
        let status = Command::new(&nvcc)
            .args(["--ptx", "-O3", "-std=c++17", &format!("-arch=compute_{capability}"), "-o"])
            .arg(&target)
            .arg(format!("kernels/{name}.cu"))
            .status()
            .map_err(|error| format!("cannot run '{nvcc}': {error}; make cuda-toolchain"))?;
        if !status.success() {
            return Err(format!("'{nvcc}' cannot compile kernels/{name}.cu").into());
        }
        fs::metadata(&target)?;
    }
    Ok(())
}
